"""`trainctl replay`: the recorded script again, with a real Hydra app."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from made import Cli, assert_refused, finished
from omegaconf import OmegaConf

from trainctl.config.overrides import quoted
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir

APP = """
import sys, time
import hydra
import trainctl
from hydra.core.hydra_config import HydraConfig
from trainctl.rundir import inbox
from trainctl.attempt.attempt import current

@hydra.main(version_base=None, config_path=None, config_name="conf")
def main(cfg):
    live = trainctl.live(cfg)
    for step in range(cfg.steps):
        live.step()
        live.log(lr=cfg.lr)
        if step == 5 and HydraConfig.get().get("trainctl", {}).get("replay") is None:
            inbox.file_request(current().run, {"lr": "0.05"}, via="cli")
            deadline = time.monotonic() + 60
            while not live._taken and time.monotonic() < deadline:
                time.sleep(0.001)
    if cfg.exit_code:
        sys.exit(cfg.exit_code)
    live.fingerprint({"lr": cfg.lr, "steps": live.step_number})
    return cfg.lr

main()
"""


@pytest.fixture
def app_run(tmp_path: Path, environment: dict[str, str]) -> RunDir:
    """A finished run of a Hydra app, with one edit made while it ran."""
    (tmp_path / "app.py").write_text(APP)
    conf = {"lr": 0.1, "steps": 50, "exit_code": 0, "hydra": {"run": {"dir": "runs/${now:%H%M%S%f}"}}}
    (tmp_path / "confs").mkdir()
    files.write_yaml(tmp_path / "confs" / "special.yaml", conf)
    command = [sys.executable, "app.py", "--config-dir", "confs", "-cn=special", "steps=60"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=120)
    (path,) = (tmp_path / "runs").iterdir()
    # a name that means something in Hydra's grammar of overrides
    return RunDir.at(path.rename(path.with_name("lr=0.1,a b'${c}\\")))


def metrics_of(run: RunDir) -> list[tuple[int, float]]:
    return [(record["step"], record["lr"]) for record in files.read_lines(run.metrics) if "lr" in record]


@pytest.mark.slow
def test_replay_starts_the_script_again_with_the_recorded_edits(cli: Cli, tmp_path: Path, app_run: RunDir) -> None:
    answer = cli("replay", str(app_run.path))
    assert answer.returncode == 0, answer.stderr
    (again,) = (RunDir.at(path) for path in (tmp_path / "runs").iterdir() if path != app_run.path)
    assert len(metrics_of(app_run)) == 60
    assert {lr for _, lr in metrics_of(app_run)} == {0.1, 0.05}
    assert metrics_of(again) == metrics_of(app_run)
    assert files.read_mapping(again.run)["seed"] == files.read_mapping(app_run.run)["seed"]
    assert files.read_mapping(again.run)["parent"] == str(app_run.path)

    answer = cli("replay", str(again.path), "lr=0.2")
    assert answer.returncode != 0
    assert re.search("lr: recorded 0.1, now 0.2", answer.stderr)
    answer = cli("replay", str(again.path), "lr=0.2", "++trainctl.drift=allow")
    assert answer.returncode == 0, answer.stderr


@pytest.mark.slow
def test_replay_has_the_exit_code_of_the_script(cli: Cli, app_run: RunDir) -> None:
    answer = cli("replay", str(app_run.path), "exit_code=3", "++trainctl.drift=allow")
    assert answer.returncode == 3, answer.stderr


@pytest.mark.slow
def test_replay_says_what_is_missing(cli: Cli, tmp_path: Path) -> None:
    run = finished(tmp_path / "outputs" / "a")
    facts = {"executable": sys.executable, "script": "/gone.py", "argv": ["gone.py"], "overrides": [], "cwd": "/gone"}
    assert_refused(cli("replay", "a"), "was not started by a Hydra app")
    run.config.parent.mkdir()
    run.config.touch()
    files.write_yaml(run.run, facts)
    assert_refused(cli("replay", "a"), "the script '/gone.py', which is not there any more")
    files.write_yaml(run.run, {**facts, "module": "app"})
    assert_refused(cli("replay", "a"), "'/gone', which is not a directory any more")


@pytest.mark.parametrize(
    "path", ["/a/b", "/a b/c", "/a b/c,d=e", '/it\'s/"x"', "/a\\", "/a\\'b\\\\'", "/${x}", "/ü/[1]/{a: b}~"]
)
def test_replay_path_survives_hydra_grammar(path: str) -> None:
    override = OverridesParser.create().parse_override(f"++trainctl.replay={quoted(path)}")
    assert OmegaConf.create({"path": override.value()}).path == path


def test_replay_of_a_script_without_hydra_says_how_it_is_replayed(cli: Cli, tmp_path: Path) -> None:
    run = finished(tmp_path / "outputs" / "a b")
    said = cli("replay", "a b").stderr
    assert f"with trainctl.replay='{run.path}' in the config given to trainctl.live" in said


def test_override_that_is_advised_for_a_replay_is_one_word_of_the_shell(cli: Cli, tmp_path: Path) -> None:
    run = finished(tmp_path / "outputs" / "a b")
    facts = {"script": "<stdin>", "argv": ["-"], "overrides": [], "hydra_overrides": [], "cwd": str(tmp_path)}
    files.write_yaml(run.run, facts)
    said = cli("replay", "a b").stderr
    assert said.rstrip().endswith(f"start it yourself with 'trainctl.replay={run.path}'")


@pytest.mark.slow
def test_replay_is_verified_bit_for_bit(cli: Cli, app_run: RunDir, tmp_path: Path) -> None:
    answer = cli("replay", "--verify", str(app_run.path))
    assert answer.returncode == 0, answer.stderr
    hashed = [record["fingerprint"] for record in files.read_lines(app_run.metrics) if "fingerprint" in record][-1]
    assert answer.stdout == f"identical: 61 metric records, weights hash {hashed}\n"
    assert [path.name for path in (tmp_path / "runs").iterdir() if not path.name.startswith(".")] == [app_run.name]


@pytest.mark.slow
def test_verify_names_the_first_difference_and_what_may_have_made_it(cli: Cli, app_run: RunDir) -> None:
    script = Path(files.read_mapping(app_run.run)["script"])
    script.write_text(script.read_text().replace("live.log(lr=cfg.lr)", "live.log(lr=cfg.lr + (step == 40))"))
    facts = files.read_mapping(app_run.run)
    files.write_yaml(app_run.run, {**facts, "packages": {**facts["packages"], "numpy": "0.1"}})
    answer = cli("replay", str(app_run.path), "--verify")
    assert answer.returncode == 1
    first, package, place = answer.stdout.splitlines()
    assert first == "not the same run; the first difference: step 41: lr was 0.05, now 1.05"
    assert re.fullmatch(r"  numpy: 0\.1, now .*", package)
    assert re.fullmatch(r"the repetition is in runs/\.trainctl/verify/.*", place)
    ignored = cli("replay", str(app_run.path), "--verify", "--ignore", "lr")
    assert ignored.returncode == 0, ignored.stderr
    failed = cli("replay", str(app_run.path), "--verify", "exit_code=3", "++trainctl.drift=allow")
    assert_refused(failed, r"(?m)^the repetition failed: exit code 3; it is in runs/\.trainctl/verify/.*\.3$")


def test_verify_of_a_run_that_is_not_done_is_refused(cli: Cli, app_run: RunDir) -> None:
    files.write_yaml(app_run.status, {**files.read_mapping(app_run.status), "state": "failed"})
    assert_refused(
        cli("replay", "--verify", str(app_run.path)),
        "is failed; only a run that has returned its value can be verified",
    )


@pytest.mark.parametrize("override", ["hydra.run.dir=here", "++hydra.run={dir: here}", "trainctl.panel.enabled=true"])
def test_override_that_verify_sets_itself_is_refused(cli: Cli, app_run: RunDir, tmp_path: Path, override: str) -> None:
    answer = cli("replay", str(app_run.path), "--verify", "steps=60", override)
    assert_refused(answer, f"^{re.escape(override)} would have no effect: with --verify the repetition always runs")
    assert not (tmp_path / "runs" / ".trainctl" / "verify").exists()
    assert not (tmp_path / "here").exists()


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [{}, {"torchrun": {"nnodes": 2, "nproc_per_node": 2}}])
def test_run_of_ranks_that_cannot_be_started_here_names_the_command(
    cli: Cli, app_run: RunDir, launcher: dict[str, object]
) -> None:
    files.write_yaml(app_run.run, {**files.read_mapping(app_run.run), "world_size": 4, **launcher})
    for options in ([], ["--verify"]):
        answer = cli("replay", str(app_run.path), *options)
        assert_refused(answer, "was a run of 4 ranks, which this command cannot start; start it as it was started")
        assert "app.py --config-dir confs --config-name special steps=60" in answer.stderr
