"""Files of a real run, changed at random and by a program that replays it: a reader answers, or says why it cannot."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import drawn
import pytest
from broken_runs import BOMB, DEEP, PLACED
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from project_processes import run_python

from trainctl.cli import config, details, diff, record, runs, tail
from trainctl.errors import TrainctlError
from trainctl.examine.row import read_row
from trainctl.panel.data.watcher import Watcher
from trainctl.rundir.compare import compare
from trainctl.rundir.paths import RunDir
from trainctl.rundir.summary import summarize
from trainctl.session.schedule import own_repeats, read_replay, replayed_repeats
from trainctl.sources.kinds import read_source

APP = """
import time
import hydra, trainctl
from trainctl.attempt.attempt import current
from trainctl.rundir.inbox import file_request
from trainctl.rundir.events import answer

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    live = trainctl.live(cfg)
    for step in live.track(range(1, 7)):
        if step == 2 and cfg.trainctl_edits:
            run = current().run
            asked = [file_request(run, {"lr": 0.25}, via="cli", note="lower"), file_request(run, {"no": 1}, via="cli")]
            while not all(answer(run, each) for each in asked):
                live.step()
                time.sleep(0.01)
        live.log(loss=cfg.lr / step)
    return {"loss": cfg.lr}

main()
"""
CONFIG = """
defaults: [override hydra/callbacks: trainctl, _self_]
lr: 0.5
trainctl_edits: true
trainctl: {panel: {enabled: false}}
"""
FILES = (
    *("status.yaml", "run.yaml", "result.yaml", "progress.yaml", "changelog.yaml", "metrics.jsonl", "events.jsonl"),
    *("job.log", ".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml"),
)
TOKENS = (
    *(
        b"null",
        b"3",
        b"[]",
        b"{}",
        b"true",
        b"1e400",
        b"-1",
        b"0x" + b"f" * 2000,
        b"9" * 400,
        b"\0",
        b"\xff",
        b"\x1b[2J",
    ),
    *(b"!!timestamp z", b"!!python/name:os.system", b"!!bool q", b"&a [*a]", b"<<: 3", b"? [1]", b"- ", b": ", b"#.\n"),
    *(b"\n", b"\r\n", b"\t", b"%YAML 9.9\n---\n", b"---\n", b"...\n", b'"', b"'", b"|\n", b"${oc.env:HOME}", b"NaN"),
    *(b" " * 32_000, DEEP.encode(), BOMB.encode(), b"{" * 200, b'{"a":' * 300),
)
MOST_S = 20.0  # of all readers together: each takes a fraction of a second


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run that a program has made, with an edit, a refusal, metrics and a return value."""
    path = tmp_path_factory.mktemp("real")
    (path / "conf").mkdir()
    (path / "conf" / "config.yaml").write_text(CONFIG)
    (path / "app.py").write_text(APP)
    run_app(path, "hydra.run.dir=run")
    run = RunDir.at(path / "run")
    assert [edit.values for edit in read_replay(run.path).edits] == [{"lr": 0.25}]
    return run


def run_app(path: Path, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return run_python(path, "app.py", *words, check=check)


def trainctl(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run_python(path, "-c", "from trainctl.cli import main; main()", *words)


MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(FILES),
        st.sampled_from(["flip", "cut", "put", "twice", "take", "zeros"]),
        st.floats(0, 1),
        st.integers(0, 255),
        st.sampled_from(TOKENS),
    ),
    min_size=1,
    max_size=4,
)


def mutate(run: RunDir, file: str, how: str, where: float, byte: int, token: bytes) -> None:
    path = run.path / file
    data = path.read_bytes()
    at = int(where * len(data))
    before, after = data[:at], data[at:]
    path.write_bytes(
        {
            "flip": before + bytes([byte]) + after[1:],
            "cut": before,
            "put": before + token + after,
            "twice": data + after,
            "take": before + after[byte:],
            "zeros": before + bytes(len(after)),
        }[how]
    )


def readers(run: RunDir, whole: RunDir) -> dict[str, Callable[[], object]]:
    name = str(run.path)
    return {
        "show": lambda: details.show(name),
        "log": lambda: record.log(name),
        "tail": lambda: tail.tail(name, lines=10, follow=False, command=None),
        "diff": lambda: diff.diff(name, str(whole.path)),
        "explain": lambda: config.explain([name]),
        "+from": lambda: read_source(f"run/{name}"),
        "replay": lambda: (read_replay(run.path), replayed_repeats(run.path, ()), own_repeats(run)),
        "verify": lambda: compare(run, whole),
    }


@pytest.mark.slow
@settings(
    max_examples=drawn.examples(25, 300),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(mutations=MUTATIONS)
def test_changed_at_random_it_hides_no_run_beside_it_and_every_reader_answers(
    real: RunDir, tmp_path_factory: pytest.TempPathFactory, mutations: list[tuple[str, str, float, int, bytes]]
) -> None:
    root = tmp_path_factory.mktemp("mutated")
    whole, run = RunDir.at(root / "a"), RunDir.at(root / "b")
    for each in (whole, run):
        shutil.copytree(real.path, each.path)
    for mutation in mutations:
        mutate(run, *mutation)
    begun = time.monotonic()
    good, bad = runs.read_summaries(root)
    assert (good.state, good.edits, good.result, good.problems) == ("done", 1, {"loss": 0.25}, [])
    expected = summarize(real)
    assert (good.step, good.metrics) == (expected.step, expected.metrics)
    assert bad.name
    rows = {name: row.summary for name, row in Watcher(root).rows().items()}
    assert rows["a"].state == "done"
    assert rows["b"].problems == bad.problems
    assert "could not be read" not in " ".join(bad.problems)
    read_row(run)
    for name, read in readers(run, whole).items():
        with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), "utf-8")), contextlib.suppress(TrainctlError):
            try:
                read()
            except SystemExit:
                assert name in ("tail", "log")
    assert time.monotonic() - begun < MOST_S
    shutil.rmtree(root)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", ["fifo", "nowhere", "huge", *(pytest.param(name, marks=pytest.mark.long) for name in ("zero", "folder"))]
)
def test_program_that_repeats_or_loads_a_broken_run_says_why_it_cannot(
    real: RunDir, tmp_path: Path, fault: str
) -> None:
    app = tmp_path / "app"
    shutil.copytree(real.path.parent, app)
    run = RunDir.at(app / "run")
    run.changelog.unlink()
    PLACED[fault](run.changelog)
    why = "longer than 64 MiB" if fault == "huge" else "not a regular file|it is a link, which is not followed"
    for done in (
        run_app(app, f"++trainctl.replay={run.path}", "trainctl_edits=false", check=False),
        run_app(app, f"+from=run/{run.path}", check=False),
        run_app(app, "hydra.run.dir=run", check=False),
        trainctl(app, "replay", str(run.path)),
        trainctl(app, "replay", "--verify", str(run.path)),
    ):
        assert done.returncode == 1, done
        assert any(each in done.stderr for each in why.split("|")), done.stderr
        assert "Traceback" not in done.stderr


def test_changelog_that_a_person_names_by_a_link_is_replayed(real: RunDir, tmp_path: Path) -> None:
    link = tmp_path / "best.yaml"
    link.symlink_to(real.changelog)
    assert read_replay(link) == read_replay(real.path)
    config = tmp_path / "config.yaml"
    config.symlink_to(real.config)
    assert read_source(f"yaml/{config}").values["lr"] == 0.5
