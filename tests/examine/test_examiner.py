"""From runs to rows: parsers, built-in sources, broken runs, several processes."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from examined import make, make_mlrunner

import trainctl
from trainctl.config.changelog import Edit
from trainctl.errors import RunDirError, SettingError
from trainctl.examine import Examiner, latest_log
from trainctl.examine.curve import MetricSummary, read_curves
from trainctl.examine.frame import values_of
from trainctl.examine.writing import write
from trainctl.rundir.paths import RunDir


def best_accuracy(output_dir: Path, experiment: Any, caches: dict[str, Any]) -> None:
    """A parser as the users of mlrunner have them."""
    log = latest_log("train", output_dir)
    if log is None:
        return
    found = [float(one) for one in re.findall(r"test_acc=([\d.]+)", log.read_text())]
    experiment.cache["curve"] = found
    experiment.metric["acc"] = max(found)
    caches[output_dir.name] = len(found)


def test_parsers_and_directories_of_mlrunner_work_as_they_are(tmp_path: Path) -> None:
    for seed in range(3):
        make_mlrunner(tmp_path / "output", "CE", seed, [0.5, 0.9 + seed / 100])
    failed = make_mlrunner(tmp_path / "output", "MSE", 0, [0.1])
    (failed / "stat").write_text("train: running\n")
    examiner = Examiner()
    examiner.add(best_accuracy)
    examiner.exam(tmp_path / "output", regex=".*Loss_.*")
    table = examiner.table()
    assert list(table["acc"]) == [0.9, 0.91, 0.92, 0.1]
    assert list(table["state"]) == ["done"] * 3 + ["interrupted"]
    assert list(table["reason"].dropna()) == ["train: running"]
    assert (table.index.name, list(table)[:3]) == ("run", ["state", "loss", "seed"])
    assert table.attrs["constants"] == {"data": "CIFAR10", "lr": 0.1}
    assert examiner.caches[failed.name] == 1
    grouped = examiner.table(by="loss", metrics="acc").loc["CE"]
    assert (grouped["runs"], grouped["acc"], grouped["acc count"]) == (3, pytest.approx(0.91), 3)


def test_one_line_gives_a_table(tmp_path: Path) -> None:
    for norm, value in (("new", 0.75), ("batch", 0.5)):
        make(tmp_path / f"Norm_{norm}", {"norm": norm}, f"norm={norm}", result=value)
    table = trainctl.Examiner().add(lambda run: {"name": run.name}).exam(tmp_path, regex=".*new.*").table()
    assert list(table.index) == ["Norm_new"]
    assert table["name"]["Norm_new"] == "Norm_new"


def test_sources_need_no_parser(tmp_path: Path) -> None:
    edits = [Edit(2, {"optim.lr": 0.01}, note="calmer")]
    metrics = [{"loss": 3.0}, {"loss": 1.0, "accuracy": 0.5}, {"loss": 2.0}]
    config = {"optim": {"lr": 0.1, "betas": [0.9, 0.999]}, "trainctl": {"seed": 7}}
    make(tmp_path / "a", config, result={"top1": 0.5, "top5": 0.75}, metrics=metrics, edits=edits)
    make(tmp_path / "b", {**config, "optim": {"lr": 0.2, "betas": [0.9, 0.999]}}, state="failed", reason="nan")
    (first, second) = Examiner().exam(tmp_path).rows.values()
    assert first.metrics["loss"] == MetricSummary(first=3.0, last=2.0, min=1.0, max=3.0, mean=2.0, count=3)
    assert (first.start["optim.lr"], first.end, first.edits) == (0.1, {"optim.lr": 0.01}, 1)
    assert (first.state, first.took_s, second.state, second.reason) == ("done", 60.0, "failed", "nan")
    table = Examiner().exam(tmp_path).table(metrics=["loss:min", "loss:mean", "result.top5"])
    assert {head: values[0] for head, values in values_of(table).items()} == {
        "run": "a", "state": "done", "optim.lr": 0.1, "optim.lr@end": 0.01, "loss:min": 1.0, "loss:mean": 2.0,
        "result.top5": 0.75, "reason": None,
    }  # fmt: skip
    assert table.attrs["constants"] == {"optim.betas": [0.9, 0.999]}


def test_a_run_that_did_not_override_a_key_has_its_config_value(tmp_path: Path) -> None:
    make(tmp_path / "a", {"norm": "batch", "stop": True}, "norm=batch", "stop=true")
    make(tmp_path / "b", {"norm": "new", "stop": False}, "norm=new")
    table = Examiner().exam(tmp_path).table()
    assert (list(table["norm"]), list(table["stop"])) == (["batch", "new"], [True, False])


def test_a_config_group_speaks_for_what_lies_below_it(tmp_path: Path) -> None:
    for name, moment in (("new", 0.05), ("batch", 0.1)):
        run = make(tmp_path / name, {"norm": {"name": name, "moment": moment}}, *["norm=new"] * (name == "new"))
        run.config.parent.mkdir()
        choices = f"hydra:\n  runtime:\n    choices:\n      norm: {name}\n      hydra/launcher: slots\n    other: 1\n"
        (run.config.parent / "hydra.yaml").write_text(choices)
    table = Examiner().exam(tmp_path).table()
    assert list(table) == ["norm", "took_s"]
    assert list(table["norm"]) == ["batch", "new"]


def test_key_below_a_config_group_is_shown_if_the_group_does_not_tell_its_value(tmp_path: Path) -> None:
    for number, (opt, rate, decay) in enumerate([("sgd", 0.1, None), ("sgd", 0.5, None), ("adam", 0.1, 0.01)]):
        config = {"opt": {"lr": rate, "size": len(opt), **({} if decay is None else {"decay": decay})}}
        make(tmp_path / f"run{number}", config | ({"only": None} if opt == "sgd" else {}), f"opt={opt}")
    make(tmp_path / "waits", {}, "opt=adam")
    table = Examiner().exam(tmp_path).table()
    assert list(table)[:2] == ["opt", "opt.lr"]
    assert list(table["opt.lr"])[:3] == [0.1, 0.5, 0.1]
    assert "only" not in table.attrs["constants"]  # null in some, and not there in others


def test_override_of_a_section_is_shown_as_hydra_reads_it(tmp_path: Path) -> None:
    for name, rate in (("a", "1e-3"), ("b", "2")):
        make(tmp_path / name, {"opt": {"lr": float(rate), "kind": name}}, f"+opt={{lr:{rate},kind:{name}}}")
    table = Examiner().exam(tmp_path).table()
    assert list(table["opt"]) == [{"lr": 0.001, "kind": "a"}, {"lr": 2, "kind": "b"}]


def test_broken_runs_are_rows_with_their_reason(tmp_path: Path) -> None:
    make(tmp_path / "a", {"lr": 0.1}, result=1.0)
    broken = make(tmp_path / "b", {"lr": 0.1}, result=2.0)
    broken.changelog.write_text("0: [1\n")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "status.yaml").write_text("{")

    def parse(run: RunDir) -> dict[str, Any]:
        return {"half": 1 / (run.name != "a")}

    rows = Examiner().add(parse).exam(tmp_path).named()
    assert list(rows) == ["a", "b", "c"]
    assert re.search(r"parse: ZeroDivisionError", rows["a"].why or "")
    assert re.search(r"changelog", rows["b"].why or "")
    assert (rows["b"].result, rows["b"].found, rows["c"].state) == (2.0, {"half": 1.0}, "unreadable")
    assert "parse: ZeroDivisionError" in Examiner().add(parse).exam(tmp_path).table()["reason"]["a"]


def test_several_processes_find_what_one_does(tmp_path: Path) -> None:
    for number in range(7):
        make(tmp_path / f"run{number}", {"lr": number / 8}, result=number / 2, metrics=[{"loss": float(number)}])
    half = 0.5

    def parse(run: RunDir) -> dict[str, Any]:
        print("a parser may print")
        return {"index": int(run.name[-1]) + half}

    def remember(path: Path, experiment: Any, caches: dict[str, Any]) -> None:
        caches[path.name] = experiment.param["lr"]

    alone = Examiner(cache=False).add(parse).add(remember).exam(tmp_path, workers=1)
    together = Examiner(cache=False).add(parse).add(remember).exam(tmp_path, workers=3)
    assert values_of(together.table()) == values_of(alone.table())
    assert together.caches == alone.caches == {f"run{number}": number / 8 for number in range(7)}


def test_a_parser_that_ends_its_process_is_a_reason(tmp_path: Path) -> None:
    for number in range(2):
        make(tmp_path / f"run{number}", {"lr": 0.1}, result=0.5)

    def crash(run: RunDir) -> None:
        import os

        if run.name == "run1":
            os._exit(3)

    rows = Examiner().add(crash).exam(tmp_path, workers=2).named()
    assert [row.why for row in rows.values()] == [None, "the parsers: the process that ran them ended with 3"]


def test_two_directories_and_two_looks_give_each_run_once(tmp_path: Path) -> None:
    for top in ("x", "y"):
        make(tmp_path / top / "same", {"top": top}, result=0.5)
    examiner = Examiner().exam(tmp_path / "x").exam(tmp_path / "y").exam(tmp_path / "x")
    assert list(examiner.table().index) == [str(tmp_path / "x" / "same"), str(tmp_path / "y" / "same")]


def test_latest_log_knows_our_names_and_those_of_mlrunner(tmp_path: Path) -> None:
    names = ["train.2.log", "train.log", "train.10.log", "train.1.log", "trainer.log", "test.log", "train.x.log"]
    for name in names:
        (tmp_path / name).touch()
    found = [latest_log("train", tmp_path, at) for at in range(5)]
    assert [log.name if log else None for log in found] == [
        "train.1.log",
        "train.2.log",
        "train.10.log",
        "train.log",
        None,
    ]
    old = make_mlrunner(tmp_path, "CE", 0, [0.5])
    (old / "log.train.20230101.000000").touch()
    assert trainctl.latest_log("train", str(old)) == old / "log.train.20230101.000000"
    assert latest_log("train", RunDir.at(old), 0) == old / "log.train.20220517.074342"
    assert latest_log("avg", old) is latest_log("train", tmp_path / "nowhere") is None


def test_event_files_of_tensorboard_are_a_source(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    run = make(tmp_path / "a", {"lr": 0.1}, metrics=[{"loss": 0.25}])
    writer = EventFileWriter(str(run.path / "lightning_logs" / "version_0"))
    for step, value in ((1, 0.5), (3, 0.75), (2, 1.0)):
        summary = Summary(
            value=[Summary.Value(tag="val/acc", simple_value=value), Summary.Value(tag="loss", simple_value=9)]
        )
        writer.add_event(Event(step=step, summary=summary))
    writer.close()
    (row,) = Examiner().exam(tmp_path).rows.values()
    assert row.metrics["val/acc"] == MetricSummary(first=0.5, last=0.75, min=0.5, max=1.0, mean=0.75, count=3)
    assert row.metrics["loss"].last == 0.25  # what live.log wrote is exact


def test_what_a_writer_took_back_does_not_count(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    run = make(tmp_path / "a", {"lr": 0.1})
    for suffix, steps in ((".1", range(1, 9)), (".2", range(4, 6))):  # went on from a checkpoint of step 3
        writer = EventFileWriter(str(run.path), filename_suffix=suffix)
        if steps[0] > 1:
            writer.add_event(Event(step=steps[0], session_log=SessionLog(status=SessionLog.START)))
        for step in steps:
            writer.add_event(Event(step=step, summary=Summary(value=[Summary.Value(tag="acc", simple_value=step)])))
        writer.close()
    (row,) = Examiner().exam(tmp_path).rows.values()
    assert (row.metrics["acc"].count, row.metrics["acc"].max) == (5, 5.0)


def test_curves_take_nan_as_neither_least_nor_greatest(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 1.0}\ntorn {\n{"step": 2, "loss": NaN, "ok": true, "word": "x"}\n{"loss": 3')
    loss = read_curves(path)["loss"]
    assert (loss.min, loss.max, loss.count) == (1.0, 1.0, 2)
    assert math.isnan(loss.last)
    assert math.isnan(loss.mean)
    assert list(read_curves(path)) == ["loss"]


def test_wrong_questions_are_refused(tmp_path: Path) -> None:
    make(tmp_path / "a", {"lr": 0.1}, result=0.5, metrics=[{"loss": 1.0}])
    examiner = Examiner().exam(tmp_path)
    with pytest.raises(SettingError, match="no metric 'acc'; these runs have loss, result"):
        examiner.table(metrics="acc:max")
    with pytest.raises(SettingError, match=":best; allowed are :last, :min"):
        examiner.table(metrics="loss:best")
    with pytest.raises(SettingError, match="does not say which is best; write loss:max or loss:min"):
        examiner.table(best="loss")
    with pytest.raises(SettingError, match="no run has a parameter 'momentum'"):
        examiner.table(by="momentum")
    with pytest.raises(SettingError, match="no format 'html'; allowed are csv, json"):
        write(examiner.table(), "html")
    with pytest.raises(SettingError, match=r"regex='\(' is not a regular expression"):
        examiner.exam(tmp_path, regex="(")
    with pytest.raises(SettingError, match="takes 2 arguments; allowed are"):
        examiner.add(lambda run, more: None)
    called: Any = {"bleu": 3}
    with pytest.raises(
        SettingError, match=r"the parser \{'bleu': 3\} is not a function; name it without calling it: add"
    ):
        examiner.add(called)
    with pytest.raises(RunDirError, match="is not a directory"):
        examiner.exam(tmp_path / "nowhere")
