"""`trainctl table` with a question: groups, the best, formats, a plot."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from made import Cli, assert_refused, finished


@pytest.fixture
def sweep(tmp_path: Path) -> None:
    for at, (norm, seed) in enumerate((norm, seed) for norm in ("new", "batch") for seed in (1, 2)):
        path = tmp_path / "outputs" / f"Norm_{norm}-Seed_{seed}"
        finished(path, f"norm={norm}", f"seed={seed}", "steps=9", result={"accuracy": at / 8})


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
