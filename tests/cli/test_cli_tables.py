"""`trainctl ls`, `show` and `table`: whole when piped, fitting on a terminal, data shown as data."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from made import CLI, Cli, assert_refused, finished
from pseudo_terminal import on_terminal
from screen import Screen

from trainctl import text
from trainctl.cli import place, terminal
from trainctl.cli.app import app
from trainctl.cli.terminal import Column
from trainctl.errors import RunDirError
from trainctl.examine import varying
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir


@pytest.mark.slow
def test_ls_shows_a_running_run(cli: Cli, trainer: RunDir) -> None:
    (row,) = json.loads(cli("ls", "--json").stdout)
    assert (row["name"], row["state"], row["path"]) == ("Norm_new", "running", str(trainer.path))
    assert row["step"] > 0
    lines = cli("ls").stdout.splitlines()
    assert lines[0].split("\t") == [
        "state",
        "name",
        "slot",
        "step",
        "rate",
        "ETA",
        "lr",
        "result",
        "reason",
        "edits",
        "age",
    ]
    assert lines[1].startswith("running\ttrain/Norm_new\t")


@pytest.mark.slow
def test_ls_piped_is_plain_and_whole(cli: Cli, tmp_path: Path) -> None:
    name = "Norm_new-" + "x" * 100
    reason = "ValueError: " + "y" * 100
    finished(tmp_path / "outputs" / "train" / name, state="failed", reason=reason)
    finished(tmp_path / "outputs" / "train" / "a", result=0.123456789012345)
    out = cli("ls").stdout
    assert name in out
    assert reason in out
    assert "\t0.1235\t" in out
    assert json.loads(cli("ls", "--json").stdout)[1]["result"] == 0.123456789012345
    assert "\x1b" not in out
    assert {line.count("\t") for line in out.splitlines()} == {10}
    aligned = cli("table", "outputs", "--format", "text").stdout  # who asks for text gets columns that a person reads
    assert "\t" not in aligned
    assert re.search(r"a +done .*0\.1235 ", aligned)


def test_long_reason_is_one_cell_and_no_column_is_missing_without_a_word(
    cli: Cli, tmp_path: Path, environment: dict[str, str]
) -> None:
    run = finished(tmp_path / "outputs" / "a", state="failed", reason="ValueError: " + "y\n" * 5000 + "END")
    files.append_lines(run.metrics, [{"step": 11, **{f"metric{number}": number / 7 for number in range(9)}, "t": 1.0}])
    (_, row) = cli("ls").stdout.splitlines()
    (reason,) = [cell for cell in row.split("\t") if cell.startswith("ValueError")]
    assert (len(reason), reason[-1]) == (200, "…")
    assert "END" in cli("show", "a").stdout
    out = on_terminal([*CLI, "ls"], tmp_path, columns=80, env={**environment, "TERM": "xterm"})
    screen = Screen(80)
    screen.feed(out)
    heading, row, note = screen.shown()
    assert "reason" in heading
    assert "ValueError: y y y" in row
    assert row.count("…") == 1
    assert re.fullmatch(r"no room for \w+, \w+, \w+ and \d+ more; piped, all is there", note)


def test_ls_fits_a_terminal_and_shows_data_as_data(tmp_path: Path, environment: dict[str, str]) -> None:
    run = finished(tmp_path / "outputs" / "Norm_new", result="\x1b[2J[bold]text[/bold]\x1b]0;title\x07")
    files.append_lines(run.metrics, [{"step": 11, **{f"metric{number}": number / 7 for number in range(9)}, "t": 1.0}])
    finished(tmp_path / "outputs" / ("Long_" + "name_" * 20), result=None)
    out = on_terminal([*CLI, "ls"], tmp_path, columns=80, env={**environment, "TERM": "xterm"})
    assert "[bold]text[/bold]" in out
    assert "\x1b[2J" not in out
    assert "title" not in out
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out)
    assert max(map(len, plain.splitlines())) <= 80, "a note of what has no room too"
    assert "metric8" not in plain
    assert "Long_" + "name_" * 20 in re.sub(r"[^A-Za-z_]", "", plain)


def test_show_has_the_command_as_it_was_typed(cli: Cli, tmp_path: Path) -> None:
    run = finished(tmp_path / "outputs" / "a")
    files.write_yaml(run.run, {"argv": ["/x/app/train.py", "lr=0.1"], "module": "app.train"})
    assert "command    python -m app.train lr=0.1\n" in cli("show", "a").stdout
    files.write_yaml(run.run, {"argv": ["my train.py", "lr=0.1"], "module": None})
    assert "command    python 'my train.py' lr=0.1\n" in cli("show", "a").stdout


def test_show_of_a_failed_run_ends_with_its_log(cli: Cli, tmp_path: Path) -> None:
    run = finished(tmp_path / "outputs" / "bad", "norm=new", state="failed", reason="ValueError: no")
    run.log.write_text("x\n" * 100_000 + "10 %\r99 %\r\n\x1b[31mTraceback\x1b[0m\nValueError: no\n")
    out = cli("show", "bad").stdout
    assert "state      failed: ValueError: no\n" in out
    assert "overrides  norm=new\n" in out
    assert "identity   f00d\n" in out
    assert out.endswith("  99 %\n  Traceback\n  ValueError: no\n")
    assert out.count("  x\n") == 17
    record = json.loads(cli("show", "bad", "--json").stdout)
    assert (record["state"], record["reason"], record["run"]["identity"]) == ("failed", "ValueError: no", "f00d")
    assert record["log_tail"][-1] == "ValueError: no"


def test_show_of_a_failed_run_shows_its_last_traceback_and_all_logs(cli: Cli, tmp_path: Path) -> None:
    run = finished(tmp_path / "outputs" / "bad", state="oom", reason="OutOfMemoryError: CUDA")
    first, second = ("Traceback (most recent call last):\n" + f'  File "{name}.py", line 1\n    x\n' for name in "ab")
    chain = f"{first}KeyError: 1\n\nDuring handling of the above exception, another exception occurred:\n\n{second}"
    run.log.write_text(f"{first}Warning: handled\n" + "step\n" * 50 + f"{chain}OutOfMemoryError: CUDA\n" + "bye\n" * 30)
    for number in (10, 1):
        (run.path / f"job.{number}.log").touch()
    out = cli("show", "bad").stdout
    shown = out.partition("the last traceback in outputs/bad/job.log:\n")[2].splitlines()
    assert shown[:4] == [f"  {line}" for line in f"{first}KeyError: 1".splitlines()]
    assert shown[-10:] == ["  OutOfMemoryError: CUDA"] + ["  bye"] * 9
    assert f"earlier    {run.path}/job.1.log, {run.path}/job.10.log\n" in out
    record = json.loads(cli("show", "bad", "--json").stdout)
    assert record["traceback"][0] == "Traceback (most recent call last):"
    assert record["earlier_logs"] == [f"{run.path}/job.1.log", f"{run.path}/job.10.log"]
    assert record["log"] == str(run.log)


@pytest.mark.slow
def test_every_state_can_be_listed_and_shown(cli: Cli, tmp_path: Path) -> None:
    states = ["done", "failed", "interrupted", "oom", "queued", "stopped", "timeout"]
    for state in states:
        finished(tmp_path / "outputs" / f"run_{state}", state=state)
    listed = [line.split("\t")[:2] for line in cli("ls").stdout.splitlines()[1:]]
    assert sorted(listed) == [[state, f"run_{state}"] for state in states]
    for state in states:
        assert f"state      {state}\n" in cli("show", f"run_{state}").stdout


def test_json_writes_nan_as_text(cli: Cli, tmp_path: Path) -> None:
    run = finished(tmp_path / "outputs" / "a", result=float("inf"))
    files.append_lines(run.metrics, [{"step": 11, "loss": float("nan")}])
    (row,) = json.loads(cli("ls", "--json").stdout, parse_constant=pytest.fail)
    assert (row["metrics"]["loss"], row["result"]) == ("nan", "inf")


@pytest.mark.slow
def test_run_is_found_by_unique_name_only(cli: Cli, tmp_path: Path) -> None:
    for name in ("train/Norm_new", "other/Norm_new", "train/Norm_batch"):
        finished(tmp_path / "outputs" / name)
    ambiguous = "the name of 2 runs; say which one: outputs/other/Norm_new, outputs/train/Norm_new"
    assert_refused(cli("show", "Norm_new"), ambiguous)
    assert cli("show", "train/Norm_new").returncode == 0
    assert cli("show", "Norm_batch").returncode == 0
    assert_refused(cli("show", "Norm_bat"), "no run 'Norm_bat'.*did you mean Norm_batch")
    assert_refused(cli("show", "outputs/train"), "not a run dir; it holds these: outputs/train/Norm_batch")


def test_run_place_needs_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    finished(tmp_path / "outputs" / "a")
    with pytest.raises(RunDirError, match="'' is not a run dir"):
        place.find_run("")


@pytest.mark.slow
def test_ls_of_no_directory_is_one_sentence(cli: Cli, tmp_path: Path) -> None:
    assert_refused(cli("ls"), "'outputs' does not exist")
    finished(tmp_path / "logs" / "runs" / "a")
    assert_refused(
        cli("ls"), "'outputs' does not exist; name the directory that holds your runs: there are some below logs"
    )
    assert "logs/runs/a\n" in cli("show", "runs/a").stdout
    (tmp_path / "file").touch()
    assert_refused(cli("ls", "file"), "'file' is not a directory")
    (tmp_path / "outputs").mkdir()
    assert cli("ls").stdout == "no runs below outputs\n"
    assert cli("ls", "--json").stdout == "[]\n"


def test_table_has_a_column_for_what_varies(cli: Cli, tmp_path: Path) -> None:
    finished(tmp_path / "outputs" / "Norm_new", "norm=new", "task.steps=9", result=0.75)
    finished(tmp_path / "outputs" / "Norm_batch", "norm=batch", "task.steps=9", result=0.5)
    lines = cli("table", "outputs").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["name", "norm", "result", "reason", "loss", "edits", "took"],
        ["Norm_batch", "batch", "0.5", "0.25", "1", "min"],
        ["Norm_new", "new", "0.75", "0.25", "1", "min"],
    ]
    for name in ("Norm_new", "Norm_batch"):
        (tmp_path / "outputs" / name / "metrics.jsonl").write_text('{"step": 1, "t": 1.0, "norm": 0.5}\n')
    heads = cli("table", "outputs").stdout.splitlines()[0].split("\t")
    assert heads == ["name", "norm", "result", "reason", "norm (metric)", "edits", "took"]
    finished(tmp_path / "outputs" / "Norm_bad", "norm=bad", "task.steps=9", state="failed", reason="boom")
    assert cli("table", "outputs").stdout.splitlines()[1].split()[:4] == ["Norm_bad", "failed", "bad", "boom"]
    assert [row["varying"] for row in json.loads(cli("table", "outputs", "--json").stdout)] == [
        {"norm": "bad"}, {"norm": "batch"}, {"norm": "new"},
    ]  # fmt: skip


def test_table_leaves_out_what_tells_of_the_run_alone(cli: Cli, tmp_path: Path) -> None:
    for lr, kept in ((0.1, "a"), (0.2, "b")):
        path = tmp_path / "logs" / "train" / f"Lr_{lr}"
        run = finished(path, f"lr={lr}", "trainctl.poll_s=1", f"hydra.job.name=x{lr}")
        run.config.parent.mkdir()
        files.write_yaml(
            run.config,
            {
                "lr": lr,
                "data": f"/data/{kept}",
                "paths": {"out": f"{path}/ckpt", "work": "${hydra:runtime.output_dir}"},
                "commands": {"train": "python train.py --lr ${lr}", "test": f"test {kept}"},
            },
        )
    answer = cli("table", "logs")
    assert answer.stdout.splitlines()[0].split()[:4] == ["name", "lr", "data", "result"]
    assert "the same in all" not in answer.stderr, answer.stderr
    assert cli("table", "logs", "--format", "csv").stdout.splitlines()[0].startswith("run,lr,data,")


def test_table_spreads_results_that_are_mappings(cli: Cli, tmp_path: Path) -> None:
    finished(tmp_path / "outputs" / "a", result={"accuracy": 0.5, "loss": 2})
    finished(tmp_path / "outputs" / "b", result={"accuracy": 0.75})
    lines = cli("table", "outputs").stdout.splitlines()
    assert lines[0].split()[:3] == ["name", "result.accuracy", "result.loss"]
    assert lines[2].split()[:2] == ["b", "0.75"]


def test_varying_counts_missing_and_deleted_keys() -> None:
    runs = [["+a=1", "b=2"], ["++a=1", "b=2", "~c"], ["a=1", "b=3"]]
    assert varying(runs) == {"b": ["2", "2", "3"], "c": [None, "~", None]}


def test_clean_leaves_no_control_character() -> None:
    assert terminal.clean("a\x1b[1;31mb\x1b]8;;http://x\x07c\x1b\\d\x9be\x00\u202ef\ng") == "abcdef g"
    assert terminal.clean("\x1b]0;title without end") == ""


def test_grid_keeps_the_important_columns() -> None:
    columns = [
        Column("name", ["n" * 20]),
        Column("wide", ["w" * 40], rank=1),
        Column("empty", [""], rank=2),
        Column("small", ["s"], rank=4),
        Column("last", ["l"], rank=3),
    ]
    assert [column.title for column in terminal.fit(columns, 20)] == ["name"]
    assert [column.title for column in terminal.fit(columns, 33)] == ["name", "small", "last"]
    assert [column.title for column in terminal.fit(columns, 62)] == ["name", "wide"]
    assert [column.title for column in terminal.fit(columns, 200)] == ["name", "wide", "small", "last"]


def test_amount_of_a_foreign_time_is_empty() -> None:
    assert text.moment(1e300) == ""
    assert text.duration(float("nan")) == ""


@pytest.mark.slow
@pytest.mark.parametrize("columns", [100, 400])
def test_no_text_of_a_run_reaches_a_terminal_as_a_control_sequence(tmp_path: Path, columns: int) -> None:
    title = "\x1b]0;pwned\x07\x1b[2J\x9b31mtail\u202e"
    run = finished(tmp_path / "outputs" / f"a{title}", f"lr={title}", state="failed", reason=title)
    event = {"id": "a", "state": "rejected", "edits": {title: title}, "t": 1e9, "who": title, "via": title}
    files.append_lines(run.events, [{**event, "note": title, "reason": title}, {**event, "id": "b", "step": title}])
    run.metrics.write_text(json.dumps({"step": 1, title: 0.5}) + "\n")
    foreign = finished(tmp_path / "outputs" / "b")
    files.write_yaml(foreign.status, {"state": title, "slot": title, "commands": {title: {"state": title}}})
    for words in (["ls"], ["table"], ["show", str(run.path)], ["show", str(foreign.path)], ["log", str(run.path)]):
        seen = on_terminal([*CLI, *words], tmp_path, columns=columns, env={**os.environ, "TERM": "xterm"})
        assert "pwned" not in seen or "\\x1b]0;pwned" in seen, words  # as a repr, in a reason
        for sequence in ("\x1b]", "\x1b[2J", "\x9b", "\x07", "\u202e"):
            assert sequence not in seen, (words, sequence)
        assert "tail" in seen or words == ["ls"], words


@pytest.mark.slow
def test_ls_and_table_show_the_runs_that_are_asked_for(cli: Cli, tmp_path: Path) -> None:
    for number, state in enumerate(("done", "failed", "done")):
        run = finished(tmp_path / "outputs" / f"r{number}", state=state, result=number)
        files.append_lines(run.metrics, [{"step": 11, "score": -number, "t": 1.0}])

    def names(*words: str) -> list[str]:
        said = cli(*words, "--json")
        assert said.returncode == 0, said.stderr
        return [row["name"] for row in json.loads(said.stdout)]

    assert names("ls", "--state", "failed,running") == ["r1"]
    assert names("ls", "--where", "score<0 state=done") == ["r2"]
    assert names("ls", "--sort", "score") == names("table", "--sort", "score") == ["r2", "r1", "r0"]
    assert names("ls", "--sort", "-result") == ["r2", "r0", "r1"]  # the failed one has none
    assert names("table", "--where", "score<0", "--where", "state!=failed") == ["r2"]
    said = cli("ls", "--where", "score<0")
    assert "r0" not in said.stdout
    assert "2 of 3 runs" in said.stderr
    assert cli("ls", "--where", "score>0").stdout == "no matching runs below outputs\n"
    table = cli("table", "--where", "score<0", "--sort", "-score")
    assert [line.split()[0] for line in table.stdout.splitlines()] == ["name", "r1", "r2"]
    assert_refused(cli("ls", "--state", "fail"), "--state 'fail' is not a state; allowed are queued, running, paused")
    assert_refused(cli("table", "--where", "scor>1"), "none of 3 runs has 'scor'; did you mean score?")


def test_help_lists_all_commands_whole_and_by_what_they_are_for(cli: Cli) -> None:
    said = cli("-h").stdout
    assert said == cli("--help").stdout
    assert "..." not in said.partition("[ARGS]...")[2]
    for section in ("Look:", "Change a running run:", "Start:", "Configs:", "Other tools:", "Examples:"):
        assert f"\n{section}\n" in said or f"\n  {section}\n" in said
    listed = re.findall(r"^  ([a-z]+)  +[A-Z]", said, re.MULTILINE)
    assert sorted(listed) == sorted(set(listed))
    assert len(re.findall(r"^  [a-z]+  +[A-Z].*\.$", said, re.MULTILINE)) == len(listed)  # a line each
    assert {"ls", "set", "replay", "run", "import"} <= set(listed)
    assert len(listed) == len(app.registered_commands) + len(app.registered_groups)
    assert cli("ls", "-h").stdout.startswith("Usage: trainctl ls")
