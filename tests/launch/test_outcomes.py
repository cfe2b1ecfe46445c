"""What becomes of a job stays with that job: one JobReturn each, in order, and an exit code that tells."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from sweep_app import App, make_app

from trainctl.errors import SettingError
from trainctl.launch.settings import check_settings

STARTS = ["fork", "spawn"]

DRIVER = """
import runpy, sys
from hydra._internal.hydra import Hydra

multirun = Hydra.multirun

def checked(*args, **kwargs):
    jobs = multirun(*args, **kwargs)[0]
    thing = sys.modules["__main__"].Thing
    assert [job.return_value for job in jobs] == [thing(3), thing(1), thing(2)]
    assert [job.cfg.x for job in jobs] == [3, 1, 2]
    assert [job.hydra_cfg.hydra.job.num for job in jobs] == [0, 1, 2]
    assert [list(job.overrides) for job in jobs] == [[f"x={x}", "mode=thing"] for x in (3, 1, 2)]
    print("all as it should be")

Hydra.multirun = checked
if __name__ == "__main__":
    sys.argv[0] = "app.py"
    runpy.run_path("app.py", run_name="__main__")
"""


FAILURES = {
    "raise": "ValueError: it broke",
    "exit": "the job called sys.exit(3)",
    "kill": "was killed by SIGKILL (9)",
    "segv": "was killed by SIGSEGV (11)",
    "unpicklable": "return value of type lock cannot be passed to the launcher",
    "unpicklable_error": "exception of type NeverPickled cannot be passed to the launcher",
    "two_arguments": "exception of type TwoArguments cannot be passed to the launcher",
}
MODES = ["ok", *FAILURES, "leave"]
Failed = tuple[App, "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module", params=STARTS)
def failed_sweep(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Failed:
    """A sweep in which all jobs but the first and the last fail, each in another way."""
    app = make_app(tmp_path_factory.mktemp("failures"))
    done = app.run(f"mode={','.join(MODES)}", "hydra.launcher.slots=1", f"hydra.launcher.start={request.param}")
    assert not app.processes()
    return app, done


@pytest.mark.slow
@pytest.mark.parametrize("mode", FAILURES)
def test_failed_job_says_why_it_failed(failed_sweep: Failed, mode: str) -> None:
    app, done = failed_sweep
    number = MODES.index(mode)
    failure = re.search(rf"FAIL +\d+/{len(MODES)} sweep/{number} after .*", done.stderr)
    assert failure is not None
    assert FAILURES[mode] in failure.group(0)
    assert f"full log: sweep/{number}/job.log" in done.stderr
    assert FAILURES[mode] in app.yaml(f"{number}/status.yaml")["reason"]


def test_failed_job_fails_alone(failed_sweep: Failed) -> None:
    app, done = failed_sweep
    assert done.returncode == 1
    assert f"{len(MODES)} jobs: {len(MODES) - len(FAILURES)} done, {len(FAILURES)} failed" in done.stderr
    states = {mode: app.yaml(f"{number}/status.yaml")["state"] for number, mode in enumerate(MODES)}
    assert states == {"ok": "done", "leave": "done", **dict.fromkeys(FAILURES, "failed")}


def test_failed_job_shows_the_end_of_its_traceback(app: Any) -> None:
    done = app.run("mode=raise,unpicklable_error")
    assert 'if mode == "raise": raise ValueError("it broke")' in done.stderr
    assert 'if mode == "unpicklable_error": raise NeverPickled("deep inside")' in done.stderr
    assert "ValueError: it broke" in (app.sweep / "0" / "job.log").read_text()


@pytest.mark.slow
def test_sweep_ends_0_only_if_all_jobs_succeeded(app: Any) -> None:
    assert app.run("x=1,2").returncode == 0
    assert app.run("x=1,2", "mode=raise").returncode == 1


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS)
def test_job_returns_objects_of_the_users_script(app: Any, start: str) -> None:
    (app.path / "drive.py").write_text(DRIVER)
    command = app.command
    app.command = lambda *overrides: [c.replace("app.py", "drive.py") for c in command(*overrides)]
    done = app.run("x=3,1,2", "mode=thing", f"hydra.launcher.start={start}", "hydra.launcher.slots=2")
    assert "all as it should be" in done.stdout, done.stderr


@pytest.mark.parametrize("start", STARTS)
def test_job_log_holds_what_children_and_c_code_print(app: Any, start: str) -> None:
    done = app.run("mode=loud", f"hydra.launcher.start={start}")
    log = (app.sweep / "0" / "job.log").read_text()
    for words in ("hello from loud", "from a shell", "from C", "to stderr"):
        assert words in log
        assert words not in done.stdout + done.stderr


def test_jobs_draw_different_random_numbers(app: Any) -> None:
    assert app.run("x=1,2,3,4", "mode=random").returncode == 0
    assert len({app.yaml(f"{number}/result.yaml")["value"] for number in range(4)}) == 4


def test_job_sees_its_slot_and_its_own_command_line(app: Any) -> None:
    assert app.run("x=1", "mode=environment", "hydra.launcher.slots=[cpu]", "hydra.verbose=false").returncode == 0
    value = app.yaml("0/result.yaml")["value"]
    assert value["CUDA_VISIBLE_DEVICES"] == ""
    assert value["TRAINCTL_SLOT"] == "cpu"
    assert value["argv"][1:] == ["x=1", "mode=environment", "hydra.verbose=false", f"hydra.run.dir={app.sweep}/0"]


def test_job_that_starts_itself_again_runs_alone(app: Any) -> None:
    assert app.run("x=1,2", "mode=again").returncode == 0
    assert sorted(app.ran()) == ["end 1", "end 2", "start 1", "start 1", "start 2", "start 2"]
    assert sorted(path.name for path in app.sweep.iterdir() if not path.name.startswith(".")) == [
        "0",
        "1",
        "multirun.yaml",
    ]


@pytest.mark.slow
def test_finished_job_is_skipped_and_answers_again(app: Any) -> None:
    assert app.run("x=1,2").returncode == 0
    again = app.run("x=1,2,3")
    assert again.returncode == 0
    assert "3 jobs: 1 done, 2 skipped" in again.stderr
    assert sorted(app.ran()) == ["end 1", "end 2", "end 3", "start 1", "start 2", "start 3"]


@pytest.mark.slow
def test_failed_job_runs_again_and_keeps_its_earlier_log(app: Any) -> None:
    app.run("x=1", "mode=kill")
    app.run("x=1", "mode=kill")
    assert app.yaml("0/status.yaml")["attempt"] == 2
    assert (app.sweep / "0" / "job.1.log").exists()


@pytest.mark.slow
def test_job_with_another_config_gets_another_dir(app: Any) -> None:
    app.run("x=1")
    app.run("x=2")
    assert app.yaml("0/result.yaml")["value"] == 1.0
    assert app.yaml("0.2/result.yaml")["value"] == 2.0


def test_equal_jobs_of_one_sweep_run_once(app: Any) -> None:
    done = app.run("x=5,5,5", "hydra.sweep.subdir=same", "hydra.launcher.slots=2")
    assert done.returncode == 0, done.stderr
    assert app.ran() == ["start 5", "end 5"]
    assert "1 done, 2 skipped" in done.stderr


def test_running_threads_make_the_launcher_spawn(app: Any) -> None:
    done = app.run("x=1,2", "hydra.verbose=false", WITH_THREAD="1")
    assert done.returncode == 0
    assert "fresh interpreter, because threads are running (ticker)" in done.stdout + done.stderr


def test_unguarded_script_runs_when_spawned(app: Any) -> None:
    script = app.path / "app.py"
    unguarded = '\ntry:\n    main()\nexcept Exception:\n    raise\nprint("the program goes on")\n'
    script.write_text(script.read_text().split("if __name__")[0] + unguarded)
    done = app.run("x=1,2", "hydra.launcher.start=spawn")
    assert done.returncode == 0, done.stderr
    assert "2 jobs: 2 done" in done.stderr
    assert (done.stdout + done.stderr).count("the program goes on") == 1


def test_script_that_ends_when_it_is_imported_is_told_so_when_spawned(app: Any) -> None:
    script = app.path / "app.py"
    script.write_text('import sys\nif __name__ != "__main__":\n    sys.exit(3)\n' + script.read_text())
    done = app.run("x=1", "hydra.launcher.start=spawn")
    assert done.returncode == 1
    assert "app.py ends when it is imported (exit code 3); what ends it belongs below `if __name__ ==" in done.stderr


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("slots=0", "hydra.launcher.slots=0 would run nothing"),
        ("slots=[]", r"hydra.launcher.slots=\[\] would run nothing"),
        ("slots=[one]", "'one' is not a device; allowed are indices"),
        ("slots=many", "'many' is neither auto, a count nor a list; allowed are"),
        ("start=thread", "start='thread' is not known; allowed are auto, fork, spawn"),
        ("retries=-1", "retries must be a whole number, at least 0, but got -1"),
        ("retry_on=[crash,boredom]", "an entry that is not known; allowed are crash, oom, timeout, error"),
        ("timeout_min=0", "timeout_min must be a number, above 0 or null, but got 0"),
        ("stop_after_failures=0", "stop_after_failures must be a whole number, at least 1 or null, but got 0"),
        ("rerun=some", "rerun='some' is not known; allowed are none, failed, all"),
        ("grace_s=-1", "grace_s must be a number, at least 0, but got -1"),
    ],
)
def test_bad_setting_is_told(override: str, sentence: str) -> None:
    parsed = OverridesParser.create().parse_override(override)
    with pytest.raises(SettingError, match=sentence):
        check_settings(**{parsed.key_or_group: parsed.value()})


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("hydra.launcher.slots=[one]", "'one' is not a device; allowed are indices"),
        ("hydra.launcher.slots=[7]", "device '7', which is not visible here; visible GPUs: none"),
    ],
)
def test_bad_setting_is_refused_before_any_job(app: Any, override: str, sentence: str) -> None:
    done = app.run("x=1,2", override, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert app.ran() == []


def test_sweep_dir_that_is_a_file_is_refused(app: Any) -> None:
    app.sweep.write_text("precious")
    done = app.run("x=1")
    assert done.returncode == 1
    assert app.sweep.read_text() == "precious"
    assert app.ran() == []


def test_run_dir_that_is_a_file_fails_that_job_alone(app: Any) -> None:
    app.sweep.mkdir()
    (app.sweep / "0").write_text("precious")
    done = app.run("x=1,2")
    assert done.returncode == 1
    assert "should be a run dir, but it is a file; move it away" in done.stderr
    assert (app.sweep / "0").read_text() == "precious"
    assert app.ran() == ["start 2", "end 2"]


def test_directory_of_somebody_else_is_left_alone(app: Any) -> None:
    (app.sweep / "0").mkdir(parents=True)
    (app.sweep / "0" / "thesis.tex").write_text("precious")
    assert app.run("x=1").returncode == 0
    assert [path.name for path in (app.sweep / "0").iterdir()] == ["thesis.tex"]
    assert app.yaml("0.2/status.yaml")["state"] == "done"
