"""A plain `python app.py` is a full run, and shows its page."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from pseudo_terminal import on_terminal
from task_app import CALLBACK, FILES, PRESET, Task, status_of

from trainctl.config import yaml
from trainctl.config.changelog import loads
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import state_of

WaitUntil = Callable[..., Any]


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


def test_calls_of_resolvers_with_constants_are_recorded_by_value(task: Task) -> None:
    task.configure(PRESET + "x: ${oc.select:gone.key,3}\nmade: ${oc.create:{a:1}}\n")
    done = task.run("x='${oc.select:gone.key,${oc.select:gone.too,6}}'")
    assert done.returncode == 0, done.stderr
    base = loads(task.only_run().changelog.read_text()).base
    assert (base["x"], base["made"]) == (6, {"a": 1})


def test_task_that_never_asks_for_a_live_session_is_recorded_too(task: Task) -> None:
    assert task.run("mode=unused").returncode == 0
    run = task.only_run()
    assert (status_of(run).state, files.read_yaml(run.result)) == ("done", {"value": 0.5})


@pytest.mark.slow
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
    shown = on_terminal([sys.executable, "app.py", "mode=loud"], task.path, columns=91)
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
    assert (status.state, status.reason) == ("failed", "the job called sys.exit(3)")


def test_ctrl_c_is_an_interrupted_run(task: Task) -> None:
    with task.waiting() as process:
        run = task.only_run()
        assert state_of(run) == "running"
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=60)[1]
        assert process.returncode in {1, 130, -signal.SIGINT}
    assert f"interrupted: {os.path.relpath(run.path, task.path)}\n" in told
    assert "site-packages/hydra/" not in told  # the frames that led to the task
    status = status_of(run)
    assert (status.state, status.reason) == ("interrupted", "Ctrl-C")
    assert "KeyboardInterrupt" in run.log.read_text()
    assert not run.result.exists()


def test_ctrl_c_before_a_run_begins_is_a_word(task: Task) -> None:
    source = "import signal, hydra.experimental.callback as hydra\nclass Late(hydra.Callback):\n"
    (task.path / "late.py").write_text(f"{source}    def on_run_start(self, **_): signal.raise_signal(signal.SIGINT)\n")
    done = task.run("+hydra.callbacks.late._target_=late.Late")
    assert (done.returncode, done.stderr.splitlines()[-1:]) == (-signal.SIGINT, ["interrupted"])
    assert "Traceback" not in done.stderr


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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["RANK", "SLURM_PROCID"])
def test_other_rank_leaves_the_run_dir_to_rank_0(task: Task, variable: str) -> None:
    with task.waiting("hydra.run.dir=here"):
        before = (task.path / "here" / "status.yaml").read_text()
        other = task.run("hydra.run.dir=here", **{variable: "1"})
        assert other.returncode == 0, other.stderr
        assert (task.path / "here" / "status.yaml").read_text() == before


def test_no_page_is_started_where_none_is_wanted(task: Task) -> None:
    done = task.run()
    assert "page:" not in done.stdout + done.stderr
    assert not (task.path / "outputs" / "app" / ".trainctl").exists()


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["-m"]], ids=["run", "sweep"])
def test_page_is_announced_once_and_gone_after_the_end(task: Task, flags: list[str], wait_until: WaitUntil) -> None:
    done = task.run(*flags, "lr=0.3", "trainctl.panel.enabled=true", "trainctl.panel.keep_min=0")
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

    wait_until(is_gone, "the page's server has ended", deadline_s=240)


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "code"), [("ok", 0), ("raise", 1), ("exit", 3)])
def test_last_line_says_how_the_page_is_shown_again_however_the_run_ends(task: Task, mode: str, code: int) -> None:
    done = task.run(f"mode={mode}", "trainctl.panel.enabled=true", "trainctl.panel.keep_min=0")
    assert done.returncode == code
    assert done.stderr.splitlines()[-1] == "trainctl panel outputs/app"
    assert done.stderr.count("trainctl panel") == 1
    assert "trainctl panel" not in done.stdout


@pytest.mark.slow
def test_sweep_that_is_refused_before_its_first_job_names_no_page_for_its_empty_directory(task: Task) -> None:
    done = task.run(
        "-m", "hydra/launcher=slots", "nothing=1,2", "trainctl.panel.enabled=true", "trainctl.panel.keep_min=0"
    )
    assert done.returncode != 0
    assert "nothing" in done.stderr
    assert "trainctl panel" not in done.stderr


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
    assert "trainctl" not in config
    assert set(config["hydra"]["trainctl"]) == {"panel"}  # of the settings what differs from the defaults
