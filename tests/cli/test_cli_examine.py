"""`trainctl table` with a question: groups, the best, formats, a plot."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from made import Cli, assert_refused, finished

from trainctl.cli import terminal


@pytest.fixture
def sweep(tmp_path: Path) -> None:
    for at, (norm, seed) in enumerate((norm, seed) for norm in ("new", "batch") for seed in (1, 2)):
        path = tmp_path / "outputs" / f"Norm_{norm}-Seed_{seed}"
        finished(path, f"norm={norm}", f"seed={seed}", "steps=9", result={"accuracy": at / 8})


@pytest.mark.slow
@pytest.mark.usefixtures("sweep")
def test_table_answers_the_question_it_is_asked(cli: Cli, tmp_path: Path) -> None:
    asked = ("table", "outputs", "--by", "norm", "--metric", "result.accuracy:max", "--format")
    answer = cli(*asked, "md", "--plot", "out.png")
    assert answer.stdout.splitlines()[2:4] == ["| batch | 2 | 0.312 ± 0.088 |", "| new | 2 | 0.062 ± 0.088 |"]
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    lines = list(csv.DictReader(io.StringIO(cli(*asked, "csv").stdout)))
    assert [(line["norm"], line["result.accuracy:max count"]) for line in lines] == [("batch", "2"), ("new", "2")]
    assert json.loads(cli(*asked, "json").stdout)["constants"] == {"steps": 9}
    best = cli("table", "outputs", "--by", "norm", "--best", "result.accuracy:max").stdout.splitlines()
    assert [line.split()[:3] for line in best[1:]] == [
        ["batch", "Norm_batch-Seed_2", "0.375"], ["new", "Norm_new-Seed_2", "0.125"],
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("sweep")
def test_table_says_what_is_the_same_in_all_and_what_it_cannot(cli: Cli) -> None:
    assert cli("table", "outputs").stderr.strip() == "the same in all: steps=9"
    assert len(cli("table", "outputs", "--regex", "new").stdout.splitlines()) == 3
    assert_refused(
        cli("table", "outputs", "--metric", "acc:max"), "there is no metric 'acc'; these runs have loss, result"
    )
    assert_refused(
        cli("table", "outputs", "--by", "depth"), "no run has a parameter 'depth'; they differ in norm, seed"
    )
    assert_refused(cli("table", "outputs", "--format", "html"), "there is no format 'html'; allowed are csv")


@pytest.mark.slow
@pytest.mark.usefixtures("sweep")
def test_table_of_outputs_needs_no_name_and_a_plot_needs_a_place(cli: Cli, tmp_path: Path) -> None:
    assert cli("table").stdout == cli("table", "outputs").stdout
    assert_refused(cli("table", "--plot", "nowhere/out.png"), r"'nowhere/out\.png' cannot be drawn: .*No such file")
    assert_refused(cli("table", "--plot", "out"), "'out' does not say in which format it is to be drawn")
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]


@pytest.mark.usefixtures("sweep")
def test_no_runs_are_an_empty_table_in_the_format_that_was_asked_for(cli: Cli) -> None:
    assert json.loads(cli("table", "--regex", "nothing", "--format", "json").stdout)["rows"] == []
    assert cli("table", "--regex", "nothing").stdout == "no runs below outputs\n"


def test_the_work_for_a_table_grows_with_its_rows_and_no_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def counted(text: str) -> int:
        nonlocal calls
        calls += 1
        return len(text)

    monkeypatch.setattr(terminal, "cell_len", counted)
    columns = [terminal.Column("a", [str(at) for at in range(2000)]), terminal.Column("b", ["x"] * 2000, is_right=True)]
    terminal.print_grid(columns)
    assert calls <= 3 * 2 * 2001
