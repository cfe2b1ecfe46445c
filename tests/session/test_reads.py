"""Who reads an edited key: every way to take a value counts, none of the package's own, and the answer says it."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf, flag_override, open_dict
from session_fixtures import EndRun, OpenLive, config

from trainctl.config.changelog import Edit
from trainctl.rundir.compare import compare
from trainctl.rundir.edits import applied_edits, read_changelog
from trainctl.rundir.events import answer, count_unread, read_events
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir
from trainctl.session.api import live as begin
from trainctl.session.live import Live

Ask = Callable[..., str]
WAYS: dict[str, Callable[[Live], object]] = {
    "the config": lambda live: live.config.optim.lr,
    "an item": lambda live: live.config["optim"]["lr"],
    "a reference": lambda live: live.config.end,
    "items": lambda live: list(live.config.optim.items()),
    "the whole as a container": lambda live: OmegaConf.to_container(live.config),
    "its values": lambda live: [live.config.optim[key] for key in live.config.optim],
    "a copy": lambda live: copy.deepcopy(live.config),
    "a pickle": lambda live: pickle.dumps(live.config),
    "live.now": lambda live: live.now.optim.lr,
    "an item of live.now": lambda live: live.now["optim"]["lr"],
    "a reference in live.now": lambda live: live.now.end,
    "all of live.now": lambda live: repr(live.now),
    "vars of live.now": lambda live: dict(vars(live.now.optim)),
}


def read(run: RunDir, request: str) -> dict[str, int | None] | None:
    """Return what is said of who has read the keys of a request."""
    event = answer(run, request)
    assert event is not None
    return event.read


def edited(live: Live, ask: Ask, **edits: str) -> str:
    """Take three steps, then an edit at step 4."""
    for _ in range(3):
        live.step()
    request = ask(live, edits or {"optim.lr": "0.05"})
    live.step()
    return request


@pytest.mark.parametrize("way", WAYS)
def test_a_read_is_noted_at_its_step_whatever_takes_the_value(
    open_live: OpenLive, run: RunDir, ask: Ask, end_run: EndRun, way: str
) -> None:
    live = open_live(config())
    section = live.config.optim
    request = edited(live, ask)
    live.step()
    assert WAYS[way](live) is not None
    assert WAYS[way](live) is not None
    for _ in range(30):
        live.step()
    end_run()
    assert read(run, request) == {"optim.lr": 5}
    assert (live.now.optim.lr, live.now.end, section.lr) == (0.05, 0.05, 0.05)


FORKS = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # of Python 3.12, about os.fork()


def in_a_child(read: Callable[[], object]) -> None:
    """Call it in a forked child, as a worker of a DataLoader does."""
    child = os.fork()
    if child == 0:
        try:
            read()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


@FORKS
def test_a_read_in_a_child_that_was_forked_after_the_edit_counts(
    open_live: OpenLive, run: RunDir, ask: Ask, end_run: EndRun
) -> None:
    live = open_live(config())
    first = edited(live, ask, n="2", **{"optim.lr": "0.05"})
    in_a_child(lambda: (live.config.n, live.now.n))
    wait_for(lambda: "n" not in live._files.reads._owner)  # type: ignore[union-attr]
    assert count_unread(run) == 0
    second = ask(live, {"n": "3"})
    live.step()
    for _ in range(25):
        live.step()
    end_run()
    assert read(run, first) == {"n": 4, "optim.lr": None}
    assert read(run, second) == {"n": None}  # that was read by nobody, in no child


@FORKS
def test_a_read_in_a_child_is_seen_before_it_is_told_that_there_was_none(
    open_live: OpenLive, run: RunDir, end_run: EndRun
) -> None:
    cfg = config()
    OmegaConf.set_readonly(cfg, False)
    cfg.trainctl.poll_s = 60  # the thread looks once, and not again
    live = open_live(cfg)
    request = file_request(run, {"optim.lr": "0.05"}, via="test")
    live._files.pump.look()  # type: ignore[union-attr]
    live.step()
    in_a_child(lambda: live.config.end)
    while live.step() < 30:
        pass
    end_run()
    found = read(run, request)
    assert found is not None
    assert found["optim.lr"] is not None


def test_bindings_and_hooks_read_what_they_take_and_nothing_else(
    open_live: OpenLive, run: RunDir, ask: Ask, end_run: EndRun
) -> None:
    live = open_live(config())
    target, taken = SimpleNamespace(rate=0.0), []
    live.bind(target, "rate", "optim.lr")
    live.on_edit(lambda edit: taken.append(edit.values.get("n")))
    request = edited(live, ask, **{"optim.lr": "0.05", "n": "2", "optim.betas": "[0.5, 0.5]"})
    for _ in range(25):
        live.step()
    end_run()
    assert read(run, request) == {"optim.lr": 4, "n": 4, "optim.betas": None}
    assert (target.rate, taken) == (0.05, [2])


def test_a_hook_gets_values_that_are_a_dict_in_every_way(open_live: OpenLive, ask: Ask) -> None:
    live = open_live(config())
    edits: list[Edit] = []
    live.on_edit(edits.append)
    edited(live, ask, n="2")
    values = edits[0].values
    found = [dict(values), {**values}, values.copy(), values | {}, {} | values, dict(values.items()), copy.copy(values)]
    assert found == [{"n": 2}] * 7
    assert values == {"n": 2}
    assert edits[0] == Edit(4, {"n": 2})
    assert (list(values.values()), repr(values), pickle.loads(pickle.dumps(values))) == ([2], "{'n': 2}", {"n": 2})


def test_a_key_that_nobody_reads_is_told_after_twenty_steps_and_its_late_read_too(
    open_live: OpenLive, run: RunDir, ask: Ask, end_run: EndRun, caplog: pytest.LogCaptureFixture
) -> None:
    live = open_live(config())
    request = edited(live, ask)
    with caplog.at_level(logging.WARNING, "trainctl.session.reads"):
        while live.step() < 24:
            assert not caplog.records
    assert "the edit at step 4: optim.lr not read within 20 steps: what was built before does not" in caplog.text
    wait_for(lambda: count_unread(run) == 1)
    assert read(run, request) == {"optim.lr": None}
    while live.step() < 40:
        pass
    assert live.config.optim.lr == 0.05
    end_run()
    assert read(run, request) == {"optim.lr": 40}
    assert count_unread(run) == 0


def test_the_end_of_the_run_tells_of_what_was_not_read_until_then(
    open_live: OpenLive, run: RunDir, ask: Ask, end_run: EndRun
) -> None:
    live = open_live(config())
    edited(live, ask)
    live.step()
    end_run()
    log = read_changelog(run)
    assert log is not None
    (edit,) = applied_edits(log, read_events(run))
    assert edit.is_unread
    assert edit.reading == (
        "not read within 2 steps: what was built before does not follow; bind it (live.bind(…)) or start a run with it"
    )


def test_nothing_is_said_of_a_value_that_was_changed_again_before_anybody_read_it(
    open_live: OpenLive, run: RunDir, ask: Ask, end_run: EndRun
) -> None:
    live = open_live(config())
    first = edited(live, ask)
    second = ask(live, {"optim.lr": "0.06"})
    live.step()
    assert live.config.optim.lr == 0.06
    end_run()
    assert (read(run, first), read(run, second)) == (None, {"optim.lr": 5})


def test_own_looks_at_the_config_do_not_count(open_live: OpenLive, run: RunDir, ask: Ask, end_run: EndRun) -> None:
    live = open_live(config())
    live.bind(SimpleNamespace(rate=0.0), "rate", "n")  # so that each later edit is tried on a copy of the config
    request = edited(live, ask)
    for edits in ({"n": "4"}, {"n": "5"}):
        ask(live, edits)
        live.step()
    ask(live, {}, relative={"optim.lr": {"op": "*", "by": "x"}})  # refused
    live.step()
    assert live.state_dict()["edited"]["optim.lr"] == 0.05
    end_run()
    assert read(run, request) == {"optim.lr": None}


def test_live_now_is_the_same_with_values_that_nobody_has_read(open_live: OpenLive, ask: Ask) -> None:
    live = open_live(config())
    before = list(live.now.optim)
    edited(live, ask)
    optim = live.now.optim
    assert (list(optim), len(optim), "lr" in optim, "x" in optim) == (before, 2, True, False)
    with pytest.raises(AttributeError, match=r"has no 'x' here.*keys are betas, lr"):
        _ = optim.x
    assert list(vars(optim)) == before
    assert (copy.deepcopy(live.now), pickle.loads(pickle.dumps(live.now))) == (live.now, live.now)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("reads_again", [True, False])
def test_a_repetition_that_does_not_read_what_was_read_is_another_run(tmp_path: Path, reads_again: bool) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import sys, trainctl\nfrom omegaconf import OmegaConf\n"
        "cfg = OmegaConf.create({'n': 1, 'trainctl': {'replay': sys.argv[2], 'seed': 1}})\n"
        "live = trainctl.live(cfg, run_dir=sys.argv[1])\n"
        "for _ in range(30):\n    live.step()\n    live.log(n=1)\n    if sys.argv[3] == 'reads': cfg.n\n"
    )
    edits = tmp_path / "edits.yaml"
    edits.write_text("0: {n: 1}\n5: {n: 2}\n")
    for name, how in (("one", "reads"), ("two", "reads" if reads_again else "ignores")):
        subprocess.run([sys.executable, script, tmp_path / name, edits, how], check=True, capture_output=True)
    found = compare(RunDir.at(tmp_path / "one"), RunDir.at(tmp_path / "two")).difference
    assert found == (None if reads_again else "step 5: the edited n was read at step 5, now not read")


def test_nobody_is_said_not_to_have_read_an_entry_that_was_taken_out(
    open_live: OpenLive, run: RunDir, ask: Ask, end_run: EndRun
) -> None:
    live = open_live(config())
    edited(live, ask, **{"+optim.extra": "0.9"})
    assert live.config.optim.extra == 0.9
    request = ask(live, undo=True)
    for _ in range(30):
        live.step()
    end_run()
    assert "extra" not in live.config.optim
    assert read(run, request) == {}
    assert count_unread(run) == 0


def test_what_an_attempt_was_started_with_is_watched_in_no_attempt_and_in_no_replay(
    run: RunDir, end_run: EndRun, caplog: pytest.LogCaptureFixture
) -> None:
    def train(place: RunDir, **more: object) -> None:
        end_run()
        cfg = config()
        with open_dict(cfg), flag_override(cfg, "readonly", False):
            cfg.n = 5 if more else 1
            cfg.trainctl.update(more)
        opened = begin(cfg, run_dir=place.path)
        while opened.step() < 30:
            pass

    train(run)
    train(run, drift="allow")
    train(run, drift="allow")
    again = RunDir.at(run.path.with_name("again"))
    train(again, replay=str(run.path), drift="allow")
    end_run()
    for each in (run, again):
        changelog = read_changelog(each)
        assert changelog is not None
        assert [edit.values for edit in changelog.edits] == [{"n": 5}]
        assert count_unread(each) == 0
    assert "not read" not in caplog.text
