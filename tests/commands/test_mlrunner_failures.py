"""What goes wrong with mlrunner, each by its name: none of it does here, with a file as its user has it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from pipelines import Pipeline

from trainctl.config import yaml

WaitUntil = Callable[..., Any]


class Mlrunner(Pipeline):
    """A `params.yaml` of mlrunner's, carried over."""

    def carry(self, template: dict[str, str], default: dict[str, Any], *choices: dict[str, Any]) -> None:
        """Write and import a file; one that was imported is replaced."""
        head = {"template": template, "default": default, "resource": ["cpu", "cpu"]}
        (self.path / "theirs.yaml").write_text("---\n".join(yaml.dumps(each) for each in (head, *choices)))
        (self.path / "imported" / "theirs.yaml").unlink(missing_ok=True)
        done = self.call("import", "mlrunner", "theirs.yaml")
        assert done.returncode == 0, done.stderr

    def command(self, *arguments: str, **options: str) -> list[str]:
        return super().command(*arguments, **{"config": "imported/theirs.yaml", **options})

    @property
    def names(self) -> list[str]:
        return self.runs("theirs")


@pytest.fixture
def theirs(pipeline: Pipeline) -> Mlrunner:
    pipeline.__class__ = Mlrunner
    assert isinstance(pipeline, Mlrunner)
    return pipeline


NOTE = "echo {} {{x}} >> ran.txt"


@pytest.mark.slow
def test_killed_command_does_not_stay_running_for_ever(theirs: Mlrunner, wait_until: WaitUntil) -> None:
    theirs.carry({"train": "echo {x} >> ran.txt; while [ ! -e go ]; do sleep 0.05; done"}, {"x": 1}, {"x": [1]})
    launcher = theirs.start()
    wait_until(theirs.ran, "the command runs")
    os.kill(launcher.pid, signal.SIGKILL)
    wait_until(lambda: not theirs.processes(), "nothing of it is left on the device")  # mlrunner's commands live on
    (theirs.path / "go").touch()
    assert theirs.run().returncode == 0
    assert theirs.ran() == ["1", "1"]


@pytest.mark.slow
def test_dry_run_marks_nothing_as_running_or_done(theirs: Mlrunner) -> None:
    theirs.carry({"train": NOTE.format("train")}, {"x": 1}, {"x": [1]})
    assert "train: echo train 1" in theirs.run("--dry-run").stdout
    assert (theirs.ran(), theirs.names) == ([], [])
    assert theirs.run().returncode == 0
    assert theirs.ran() == ["train 1"]


@pytest.mark.slow
def test_numbers_that_look_alike_in_six_digits_are_two_runs(theirs: Mlrunner) -> None:
    theirs.carry({"train": NOTE.format("train")}, {"x": 1}, {"x": [1000000, 1000001, 0.1234567, 0.1234568]})
    assert theirs.run().returncode == 0
    assert len(theirs.names) == len(theirs.ran()) == 4


@pytest.mark.slow
def test_long_values_and_paths_with_the_same_end_are_two_runs(theirs: Mlrunner) -> None:
    for place in ("a", "b"):
        (theirs.path / place).mkdir()
        (theirs.path / place / "data.txt").touch()
    long = "x" * 100
    theirs.carry({"train": NOTE.format("train")}, {"x": 1}, {"x": ["a/data.txt", "b/data.txt", "1" + long, "2" + long]})
    assert theirs.run().returncode == 0
    assert len(theirs.names) == len(theirs.ran()) == 4


@pytest.mark.slow
def test_exit_code_is_not_0_when_a_command_failed_and_failures_are_counted(theirs: Mlrunner) -> None:
    theirs.carry({"train": "test {x} = 1"}, {"x": 1}, {"x": [1, 2, 3]})
    done = theirs.run()
    assert done.returncode == 1
    assert "3 jobs: 1 done, 2 failed" in done.stderr


def test_failure_in_the_middle_of_a_pipe_is_a_failure(theirs: Mlrunner) -> None:
    theirs.carry({"train": "false | cat", "test": NOTE.format("test")}, {"x": 1}, {"x": [1]})
    assert theirs.run().returncode == 1
    assert theirs.ran() == []


@pytest.mark.slow
def test_error_in_one_task_does_not_hang_the_others(theirs: Mlrunner) -> None:
    # in mlrunner a worker that meets an exception never says that its task is over, and all wait for it
    theirs.carry({"train": NOTE.format("train")}, {"x": 1}, {"x": [1, 2, 3]})
    blocked = theirs.path / "outputs" / "theirs" / "X_2"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where a run dir should be")
    done = theirs.run()
    assert done.returncode == 1
    assert sorted(theirs.ran()) == ["train 1", "train 3"]
    assert "but it is a file; move it away" in done.stderr


def test_devices_and_log_are_those_of_all_parts_of_a_command(theirs: Mlrunner) -> None:
    # mlrunner's prefix is for the first part alone, and its redirection for the last
    theirs.carry({"train": "cd / && echo $TRAINCTL_SLOT {x} | cat; echo $TRAINCTL_SLOT last"}, {"x": 1}, {"x": [1]})
    assert theirs.run().returncode == 0
    assert (theirs.run_dir("X_1", "theirs") / "train.log").read_text() == "cpu 1\ncpu last\n"


@pytest.mark.slow
def test_sample_takes_values_of_any_kind_and_the_same_ones_again(theirs: Mlrunner) -> None:
    # mlrunner sorts what it drew, which text, numbers and booleans do not bear
    theirs.carry({"train": NOTE.format("train")}, {"x": 1, "y": 1}, {"x": [1, "a", True, 0.5], "y": ["b", 2]})
    for _ in range(2):
        assert theirs.run("hydra.sweeper.sample=3").returncode == 0
        assert len(theirs.names) == 3


@pytest.mark.slow
def test_grid_of_one_command_needs_no_values_of_the_others(theirs: Mlrunner) -> None:
    # mlrunner fills in all of them, but those that are not chosen are left out before
    theirs.carry({"train": "echo {data} >> ran.txt", "test": "echo {at} >> ran.txt"}, {},
                 {"data": ["d"], "_cmd": ["train"]}, {"at": ["a"], "_cmd": ["test"]})  # fmt: skip
    done = theirs.run()
    assert done.returncode == 0, done.stderr
    assert sorted(theirs.ran()) == ["a", "d"]


@pytest.mark.slow
def test_order_of_the_keys_does_not_change_the_directory(theirs: Mlrunner) -> None:
    theirs.carry({"train": NOTE.format("train")}, {"x": 1, "y": 1}, {"x": [2], "y": [3]})
    assert theirs.run().returncode == 0
    theirs.carry({"train": NOTE.format("train")}, {"x": 1, "y": 1}, {"y": [3], "x": [2]})
    assert "1 skipped" in theirs.run().stderr
    assert theirs.names == ["X_2-Y_3"]
    assert theirs.ran() == ["train 2"]


@pytest.mark.slow
def test_later_commands_run_again_when_an_earlier_one_has_changed(theirs: Mlrunner) -> None:
    commands = {"train": NOTE.format("train"), "test": NOTE.format("test")}
    theirs.carry(commands, {"x": 1}, {"x": [1]})
    assert theirs.run().returncode == 0
    theirs.carry({**commands, "train": NOTE.format("other")}, {"x": 1}, {"x": [1]})
    assert theirs.run().returncode == 0
    assert theirs.ran() == ["train 1", "test 1", "other 1", "test 1"]
    assert theirs.run("--force", "--only", "train").returncode == 0
    assert theirs.run().returncode == 0
    assert theirs.ran()[4:] == ["other 1", "test 1"]


def test_values_that_look_like_placeholders_or_code_are_values(theirs: Mlrunner) -> None:
    # mlrunner fills placeholders in what it has just filled in, and its quotes are text inside of quotes
    values = {"a": "[b]", "b": "{x}", "x": "$(touch bad); it's"}
    theirs.carry({"train": "printf '%s|' [a] {b} {x} \"{x}\""}, {"a": "", "b": "", "x": ""},
                 {key: [value] for key, value in values.items()})  # fmt: skip
    done = theirs.run()
    assert done.returncode == 0, done.stderr
    (log,) = (theirs.path / "outputs").glob("theirs/*/train.log")
    assert log.read_text() == "|".join(["--a", "[b]", "{x}", *[values["x"]] * 2, ""])
    assert not list(theirs.path.rglob("bad"))


def test_value_inside_single_quotes_is_refused_before_a_job_starts(theirs: Mlrunner) -> None:
    theirs.carry({"train": "echo '{x}'"}, {"x": ""}, {"x": ["it's"]})
    done = theirs.run()
    assert done.returncode == 1
    assert "commands.train: ${x} cannot stand inside '…'" in done.stderr
    assert not list((theirs.path / "outputs").glob("theirs/*/train.log"))


@pytest.mark.slow
def test_grids_with_equal_jobs_and_other_commands_run_in_their_order_in_one_directory(theirs: Mlrunner) -> None:
    template = {
        name: f"mkdir lock{{x}} && echo {name} {{x}} >> ran.txt && sleep 0.1 && rmdir lock{{x}}"
        for name in ("one", "two")
    }
    xs = [7, 8, 9]
    theirs.carry(template, {"x": 1}, {"x": xs, "_cmd": ["two"]}, {"x": xs, "_cmd": ["one"]})
    done = theirs.run("hydra.launcher.slots=[cpu,cpu,cpu,cpu]", slots=None)
    assert done.returncode == 0, done.stderr
    for x in xs:
        assert [line for line in theirs.ran() if line.endswith(str(x))] == [f"two {x}", f"one {x}"]
    assert theirs.names == ["X_7", "X_8", "X_9"]
    assert "WAIT" not in done.stderr


@pytest.mark.slow
def test_learning_rates_of_a_file_make_readable_names(theirs: Mlrunner) -> None:
    theirs.carry({"train": NOTE.format("train")}, {"x": 1, "lr": 1}, {"lr": ["1e-3", "3E-4", 0.1]})
    assert "'1e-3'" in (theirs.path / "theirs.yaml").read_text()  # YAML takes it for text
    assert theirs.run().returncode == 0
    assert theirs.names == ["Lr_0.1", "Lr_1e-3", "Lr_3e-4"]


@pytest.mark.slow
def test_two_runners_at_once_do_each_command_once_and_both_wait_for_it(theirs: Mlrunner, wait_until: WaitUntil) -> None:
    # a second mlrunner takes what runs for done, and says that all is well
    theirs.carry(
        {"train": "echo {x} >> ran.txt; while [ ! -e go ]; do sleep 0.05; done; test {x} = 1"}, {"x": 1}, {"x": [1]}
    )
    launchers = [theirs.start(), theirs.start()]
    wait_until(theirs.ran, "one of them runs it")
    wait_until(lambda: "WAIT" in (theirs.path / "launcher.log").read_text(), "the other one waits")
    (theirs.path / "go").touch()
    assert [launcher.wait(60) for launcher in launchers] == [0, 0]
    assert theirs.ran() == ["1"]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("resource:\n- cpu\n- cpu\n", "resource: []\n", "`resource` must be a list of devices"),  # else it hangs
        ("_cmd: train", "_cmd: tarin", "_cmd names 'tarin', but `template` has train"),  # else nothing is run
    ],
)
def test_empty_resources_and_unknown_commands_are_refused(theirs: Mlrunner, old: str, new: str, sentence: str) -> None:
    theirs.carry({"train": NOTE.format("train")}, {"x": 1}, {"x": [1], "_cmd": "train"})
    text = (theirs.path / "theirs.yaml").read_text()
    assert old in text
    (theirs.path / "theirs.yaml").write_text(text.replace(old, new))
    done = theirs.call("import", "mlrunner", "theirs.yaml", "--to", "again")
    assert done.returncode == 1
    assert sentence in done.stderr
