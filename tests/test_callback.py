"""A plain `python app.py` is a full run; so is every job of a launcher that knows nothing of us."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trainctl.config import yaml
from trainctl.run import files
from trainctl.run.rundir import RunDir, find_runs
from trainctl.run.status import Status, read_status, state_of

WaitUntil = Callable[..., Any]

TASK = """
import ctypes, os, signal, subprocess, sys, time
import hydra, trainctl
from hydra.core.hydra_config import HydraConfig

def main(cfg):
    mode = cfg.mode
    print("begin", cfg.lr, flush=True)
    if mode == "loud":
        os.system("echo from a shell")
        subprocess.run([sys.executable, "-c", "import sys; print('child errors', file=sys.stderr)"])
        ctypes.CDLL(None).puts(b"from C")
        ctypes.CDLL(None).fflush(None)
        print("tty", sys.stdout.isatty(), sys.stderr.isatty())
        if sys.stdout.isatty(): print("columns", os.get_terminal_size().columns)
        print("\\033[31mred\\033[0m", flush=True)
    if mode == "raise": raise ValueError("the loss is not finite")
    if mode == "exit": sys.exit(3)
    if mode == "unused": return 0.5
    live = trainctl.live(cfg)
    for _ in live.track(range(3)):
        live.log(lr=live.now.lr)
    if mode == "wait":
        print("waiting", flush=True)
        while True: time.sleep(0.01)
    if mode == "orphan":
        subprocess.Popen(["sleep", "300"])
    return 0.5

if __name__ == "__main__":
    hydra.main(version_base=None, config_path="conf", config_name="config")(main)()
    print("after main", flush=True)
"""
FULL = "lr: 0.1\nmode: ok\ntrainctl: {panel: {enabled: false}}\n"
PRESET = "defaults: [trainctl, _self_]\n" + FULL
CALLBACK = "defaults:\n  - override hydra/callbacks: [trainctl]\n  - _self_\n" + FULL
NOTHING_OF_OURS = "lr: 0.1\nmode: ok\n"
FILES = {
    "run.yaml", "status.yaml", "changelog.yaml", "events.jsonl", "inbox", "metrics.jsonl", "progress.yaml", "job.log",
    "result.yaml", "run.lock", ".hydra",
}  # fmt: skip


class Task:
    """A Hydra program in a directory of its own, whose config the test chooses."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "app.py").write_text(TASK)
        (path / "conf").mkdir()
        self.configure(PRESET)

    def configure(self, text: str) -> None:
        (self.path / "conf" / "config.yaml").write_text(text)

    def options(self, **environment: str) -> dict[str, Any]:
        return {"cwd": self.path, "env": {**os.environ, **environment}, "text": True}

    def run(self, *overrides: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "app.py", *overrides]
        return subprocess.run(command, **self.options(**environment), capture_output=True, check=False, timeout=120)

    @contextlib.contextmanager
    def waiting(self, *overrides: str) -> Iterator[subprocess.Popen[str]]:
        """Start the program and give it once it waits."""
        command = [sys.executable, "app.py", "mode=wait", *overrides]
        process = subprocess.Popen(command, **self.options(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line == "waiting\n":
                    break
            yield process
        finally:
            process.kill()
            process.communicate()

    def only_run(self) -> RunDir:
        (run,) = find_runs(self.path)
        return run

    def made(self) -> list[str]:
        """Names that were not there before the program ran."""
        return sorted({path.name for path in self.path.iterdir()} - {"app.py", "conf", "__pycache__"})


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return Task(tmp_path)


def status_of(run: RunDir) -> Status:
    status = read_status(run)
    assert status is not None
    return status


def on_terminal(task: Task, *overrides: str) -> str:
    """Run the program on a terminal of 91 columns and return what the terminal showed."""
    ours, theirs = pty.openpty()
    os.set_inheritable(theirs, True)
    subprocess.run(["stty", "cols", "91"], stdin=theirs, check=True)
    command = [sys.executable, "app.py", *overrides]
    process = subprocess.Popen(command, **task.options(), stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the last writer is gone
        while data := os.read(ours, 1 << 16):
            shown += data
    os.close(ours)
    assert process.wait(60) == 0, shown
    return shown.decode()


# -- a single run ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [PRESET, CALLBACK], ids=["preset", "callback"])
def test_plain_run_is_a_full_run(task: Task, config: str) -> None:
    task.configure(config)
    done = task.run("lr=0.3")
    assert done.returncode == 0, done.stderr
    run = task.only_run()
    assert {path.name for path in run.path.iterdir()} >= FILES
    assert run.path.stat().st_mode & 0o777 == 0o700
    status = status_of(run)
    assert (status.state, status.attempt, status.exit_code) == ("done", 1, 0)
    assert files.read_yaml(run.result) == {"value": 0.5}
    assert [record["lr"] for record in files.read_lines(run.metrics)] == [0.3] * 3
    record = files.read_mapping(run.run)
    assert (record["overrides"], record["argv"], record["cwd"]) == (["lr=0.3"], ["app.py", "lr=0.3"], str(task.path))
    assert files.read_yaml(run.changelog)[0]["trainctl"]["seed"] == record["seed"]
    assert (run.path.parent == task.path / "outputs" / "app") == (config == PRESET)
    assert run.log.read_text() == done.stdout == "begin 0.3\nafter main\n"


def test_task_that_never_asks_for_a_live_session_is_recorded_too(task: Task) -> None:
    assert task.run("mode=unused").returncode == 0
    run = task.only_run()
    assert (status_of(run).state, files.read_yaml(run.result)) == ("done", {"value": 0.5})


def test_run_dir_of_a_task_that_changes_directory_is_the_same(task: Task) -> None:
    done = task.run("hydra.job.chdir=true", "hydra.run.dir=here/it", "hydra.output_subdir=null")
    assert done.returncode == 0, done.stderr
    run = task.only_run()
    assert run.path == task.path / "here" / "it"
    assert files.read_mapping(run.run)["cwd"] == str(task.path)
    assert {path.name for path in run.path.iterdir()} >= FILES - {".hydra"}


def test_output_of_children_and_c_code_is_in_the_log_and_still_shown(task: Task) -> None:
    done = task.run("mode=loud")
    log = task.only_run().log.read_text()
    for words in ("begin 0.1", "from a shell", "from C", "tty False False"):
        assert words in log
        assert words in done.stdout
    assert "child errors" in log
    assert "child errors" in done.stderr
    assert "child errors" not in done.stdout


def test_terminal_stays_a_terminal(task: Task) -> None:
    shown = on_terminal(task, "mode=loud")
    log = task.only_run().log.read_text()
    for text in (shown.replace("\r\n", "\n"), log):
        assert "tty True True\ncolumns 91\n" in text
        assert "\033[31mred\033[0m\n" in text
        assert "from C" in text
        assert "child errors" in text


def test_traceback_of_a_failed_task_is_in_the_log(task: Task) -> None:
    done = task.run("mode=raise")
    assert done.returncode == 1
    run = task.only_run()
    status = status_of(run)
    assert (status.state, status.exit_code, status.reason) == ("failed", 1, "ValueError: the loss is not finite")
    for text in (run.log.read_text(), done.stderr):
        assert re.search(r"Traceback .*ValueError: the loss is not finite", text, re.DOTALL)
    assert "after main" not in run.log.read_text()


def test_task_left_by_sys_exit_is_failed(task: Task) -> None:
    assert task.run("mode=exit").returncode == 3
    status = status_of(task.only_run())
    assert (status.state, status.reason) == (
        "failed",
        "the program ended inside the task, by sys.exit or the like",
    )


def test_ctrl_c_is_an_interrupted_run(task: Task) -> None:
    with task.waiting() as process:
        run = task.only_run()
        assert state_of(run) == "running"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode in {1, 130, -signal.SIGINT}
    status = status_of(run)
    assert (status.state, status.reason) == ("interrupted", "KeyboardInterrupt")
    assert "KeyboardInterrupt" in run.log.read_text()
    assert not run.result.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_run_is_interrupted_by_evidence_and_its_log_is_whole(
    task: Task, number: signal.Signals, wait_until: WaitUntil
) -> None:
    with task.waiting() as process:
        process.send_signal(number)
        process.communicate(timeout=60)
        assert process.returncode == -number
    run = task.only_run()
    assert (status_of(run).state, state_of(run)) == ("running", "interrupted")
    wait_until(lambda: "waiting\n" in run.log.read_text(), "the log holds the last line")


def test_child_that_outlives_the_task_does_not_hang_the_end(task: Task) -> None:
    command = [sys.executable, "app.py", "mode=orphan"]
    with (task.path / "out.txt").open("w") as out:  # a pipe would be held by the child as well
        process = subprocess.Popen(command, **task.options(), stdout=out, stderr=out, start_new_session=True)
        try:
            assert process.wait(60) == 0
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    assert state_of(task.only_run()) == "done"


def test_second_attempt_in_one_run_dir_keeps_the_first_log(task: Task) -> None:
    assert task.run("hydra.run.dir=here", "mode=raise").returncode == 1
    assert task.run("hydra.run.dir=here", "mode=raise").returncode == 1
    run = RunDir.at(task.path / "here")
    assert status_of(run).attempt == 2
    assert "the loss is not finite" in (run.path / "job.1.log").read_text()


@pytest.mark.parametrize("variable", ["RANK", "SLURM_PROCID"])
def test_other_rank_leaves_the_run_dir_to_rank_0(task: Task, variable: str) -> None:
    with task.waiting("hydra.run.dir=here"):
        before = (task.path / "here" / "status.yaml").read_text()
        other = task.run("hydra.run.dir=here", **{variable: "1"})
        assert other.returncode == 0, other.stderr
        assert (task.path / "here" / "status.yaml").read_text() == before


# -- the parts alone, and other launchers ------------------------------------------------------------------------------


def test_live_session_works_in_a_program_with_nothing_of_ours(task: Task) -> None:
    task.configure(NOTHING_OF_OURS)
    done = task.run("lr=0.2")
    assert done.returncode == 0, done.stderr
    run = task.only_run()
    assert {path.name for path in run.path.iterdir()} >= FILES - {"job.log"}
    assert files.read_yaml(run.changelog) == {0: {"lr": 0.2, "mode": "ok"}}
    assert status_of(run).state == "done"


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_jobs_of_other_launchers_are_full_runs(task: Task, launcher: str) -> None:
    task.configure(CALLBACK)
    done = task.run(
        "-m", f"hydra/launcher={launcher}", "lr=1,2,3", "mode=ok,raise", "hydra.sweep.dir=sweep",
        *(["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []),
    )  # fmt: skip
    assert done.returncode == 1
    runs = [RunDir.at(task.path / "sweep" / str(number)) for number in range(6)]
    assert [state_of(run) for run in runs] == ["done", "failed"] * 3
    for number, run in enumerate(runs):
        lr = number // 2 + 1
        assert run.log.read_text().startswith(f"begin {lr}\n")
        assert run.log.read_text().count("begin") == 1
        assert ("ValueError: the loss is not finite" in run.log.read_text()) == (number % 2 == 1)
        assert files.read_mapping(run.run)["overrides"] == [f"lr={lr}", f"mode={'raise' if number % 2 else 'ok'}"]
        if number % 2 == 0:
            assert {path.name for path in run.path.iterdir()} >= FILES


def test_output_comes_back_to_the_launcher_after_each_job(task: Task) -> None:
    task.configure(CALLBACK)
    done = task.run("-m", "hydra/launcher=basic", "lr=1,2", "hydra.sweep.dir=sweep")
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("begin 1") < done.stdout.index("#1 : lr=2") < done.stdout.index("begin 2")
    assert done.stdout.endswith("after main\n")
    logs = [(task.path / "sweep" / number / "job.log").read_text() for number in "01"]
    assert logs == ["begin 1\n", "begin 2\n"]


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("+trainctl.edditable=true", r"trainctl\.edditable is not a setting; allowed are controls, drift, editable, "),
        (
            "trainctl.poll_s=often",
            r"trainctl\.poll_s(: |=often\n *)Value 'often' of type 'str' could not be converted to Float",
        ),
        ("trainctl.drift=maybe", "trainctl.drift='maybe' is not known; allowed are error and allow"),
        ("trainctl.seed=-1", "trainctl.seed must be between 0 and 4294967295 but got -1"),
        ("trainctl.panel.port=99999", "trainctl.panel.port must be between 0 and 65535 but got 99999"),
        ("trainctl.replay=nowhere", "trainctl.replay='.*nowhere': there is no '.*nowhere'; give a run dir or a"),
        ("trainctl.replay=conf/config.yaml", "trainctl.replay='.*': .* is not a changelog: 'defaults' is not a step"),
        ("trainctl.replay=torn.yaml", r"trainctl\.replay='.*torn\.yaml': .*torn\.yaml'"),
        ("trainctl.replay=other.yaml", r"\(lr: recorded 0\.7, now 0\.1\); start from the same config"),
        ("hydra.run.dir=app.py", r"run dir '.*/app\.py' cannot be made: .*app\.py' is a file; choose another with"),
        ("hydra.run.dir=app.py/below", r"run dir '.*/app\.py/below' cannot be made: '.*/app\.py' is a file; choose"),
    ],
)
@pytest.mark.parametrize("config", [PRESET, CALLBACK], ids=["preset", "callback"])
def test_bad_input_is_one_sentence_before_anything_is_made(
    task: Task, config: str, override: str, sentence: str
) -> None:
    if config == CALLBACK and override.startswith("trainctl."):
        override = f"+{override}"
    task.configure(config)
    (task.path / "torn.yaml").write_text("0: {lr: 0.1")
    (task.path / "other.yaml").write_text("0: {lr: 0.7, mode: ok}\n2: {lr: 0.2}\n")
    before = task.made()
    done = task.run(override)
    assert done.returncode == 1
    said = done.stderr.strip().splitlines()
    assert "Traceback" not in done.stderr
    assert re.search(sentence, done.stderr), done.stderr
    assert len(said) == 1 or "Set the environment variable HYDRA_FULL_ERROR" in done.stderr, said
    assert done.stdout == ""
    assert task.made() == before


def test_run_dir_in_use_is_left_as_it_is(task: Task) -> None:
    with task.waiting("hydra.run.dir=here"):
        before = {path: path.read_bytes() for path in (task.path / "here").rglob("*.yaml")}
        done = task.run("hydra.run.dir=here", "lr=0.9")
        assert done.returncode == 1
        assert re.fullmatch(r"'.*here' is in use by a run that is still going; .*\n", done.stderr)
        assert {path: path.read_bytes() for path in before} == before


def test_run_dir_of_another_config_is_left_as_it_is(task: Task) -> None:
    assert task.run("hydra.run.dir=here").returncode == 0
    before = {path: path.read_bytes() for path in (task.path / "here").rglob("*.*") if path.is_file()}
    done = task.run("hydra.run.dir=here", "lr=0.9")
    assert done.returncode == 1
    assert re.search(r"\(lr: recorded 0\.1, now 0\.9\); a run dir holds one run: choose another", done.stderr)
    assert {path: path.read_bytes() for path in before} == before


def test_replay_that_was_not_the_same_run_ends_with_an_error(task: Task) -> None:
    (task.path / "recorded.yaml").write_text("0: {lr: 0.1, mode: ok}\n2: {lr: 0.2}\n900: {lr: 0.3}\n")
    done = task.run("trainctl.replay=recorded.yaml")
    assert done.returncode == 1
    assert "the run ended at step 3, but the replayed recorded.yaml has edits at steps 900" in done.stderr
    run = task.only_run()
    assert status_of(run).state == "failed"
    assert [record["lr"] for record in files.read_lines(run.metrics)] == [0.1, 0.2, 0.2]


def test_bad_setting_stops_a_sweep_before_anything_is_made(task: Task) -> None:
    done = task.run("-m", "lr=1,2", "trainctl.drift=maybe")
    assert done.returncode == 1
    assert "trainctl.drift='maybe' is not known; allowed are error and allow" in done.stderr
    assert not find_runs(task.path)


# -- the page ----------------------------------------------------------------------------------------------------------


def test_no_page_is_started_where_none_is_wanted(task: Task) -> None:
    done = task.run()
    assert "page:" not in done.stdout + done.stderr
    assert not (task.path / "outputs" / "app" / ".trainctl").exists()


@pytest.mark.parametrize("flags", [[], ["-m"]], ids=["run", "sweep"])
def test_page_is_announced_once_and_gone_after_the_end(task: Task, flags: list[str], wait_until: WaitUntil) -> None:
    done = task.run(*flags, "lr=0.3", "trainctl.panel.enabled=true")
    assert done.returncode == 0, done.stderr
    (url,) = re.findall(r"^page: (http://127\.0\.0\.1:\d+/\w+/\?token=\S+)$", done.stdout + done.stderr, re.MULTILINE)

    def is_gone() -> bool:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError:
            return False
        except OSError:
            return True
        return False

    wait_until(is_gone, "the page's server has ended")


def test_page_on_an_address_of_the_outside_is_refused(task: Task) -> None:
    done = task.run("trainctl.panel.enabled=true", "trainctl.panel.address=0.0.0.0")
    assert done.returncode == 1
    assert "trainctl.panel.address='0.0.0.0' would show the page to other machines" in done.stderr
    assert task.made() == []


def test_config_of_the_preset_holds_our_settings_and_readable_dirs(task: Task) -> None:
    done = task.run("--cfg", "all")
    config = yaml.loads(done.stdout.removesuffix("after main\n"))
    assert config["hydra"]["launcher"]["_target_"] == "hydra_plugins.hydra_trainctl.slots.SlotLauncher"
    assert config["hydra"]["sweep"] == {"dir": "outputs/${hydra.job.name}", "subdir": "${trainctl_name:}"}
    assert set(config["trainctl"]) >= {"editable", "controls", "replay", "drift", "seed", "panel", "identity", "track"}
