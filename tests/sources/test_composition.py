"""`+from=…` in an app that knows nothing of trainctl."""

from __future__ import annotations

from pathlib import Path

import hydra
import pytest
from earlier_runs import Compose, MakeRun
from hydra.errors import HydraException
from omegaconf import OmegaConf

from trainctl.config.changelog import Edit
from trainctl.config.loaded import kept_copies

EDITS = [Edit(5, {"lr": 0.3}), Edit(69, {"steps": 40, "betas": [0.8, 0.99]})]


def test_run_is_continued_with_its_options_and_its_last_values(made: Compose, make_run: MakeRun) -> None:
    make_run("outputs/one", "norm=new", "model=big", "model/act=gelu", edits=EDITS)
    config = made("+from=run/outputs/one", whole=True)
    assert (config.lr, config.steps, config.betas) == (0.3, 40, [0.8, 0.99])
    assert config.norm == {"name": "new", "groups": 4}
    assert config.model == {"layers": 12, "act": {"f": "gelu", "approximate": True}}
    assert config.hydra.runtime.choices["norm"] == "new"
    assert config.hydra.runtime.choices["model/act"] == "gelu"
    assert list(config.hydra.overrides.task) == ["+from=run/outputs/one"]


def test_command_line_is_over_run_over_files(made: Compose, make_run: MakeRun, conf: Path) -> None:
    make_run("outputs/one", "norm=new", "norm.groups=8", "lr=0.3", "steps=20")
    (conf / "config.yaml").write_text((conf / "config.yaml").read_text().replace("steps: 10", "steps: 11"))
    assert made().steps == 11
    config = made("+from=run/outputs/one", "lr=0.7", "+new=1")
    assert (config.steps, config.lr, config.new, config.norm.groups) == (20, 0.7, 1, 8)


def test_option_that_the_command_line_chooses_is_over_what_the_run_has_there(made: Compose, make_run: MakeRun) -> None:
    make_run("outputs/one", "norm=new", "model=big", "steps=20", "lr=0.3")
    config = made("+from=run/outputs/one", "norm=batch", "+extra=global")
    assert config.norm == {"name": "batch", "momentum": 0.1}
    assert config.model.layers == 12
    assert (config.lr, config.steps) == (0.3, 77)


def test_group_of_which_the_run_had_no_option_is_not_there(made: Compose, make_run: MakeRun) -> None:
    make_run("outputs/one", "~norm", "~verbose", "lr=0.3")
    config = made("+from=run/outputs/one")
    assert ("norm" in config, config.lr) == (False, 0.3)
    assert made("+from=run/outputs/one", "norm=new").norm.groups == 4


def test_config_at_a_step(made: Compose, make_run: MakeRun) -> None:
    make_run("outputs/one", edits=EDITS)
    configs = [made(f"+from=run/outputs/one@{step}") for step in (0, 5, 68, 69)]
    assert [(config.lr, config.steps) for config in configs] == [(0.1, 10), (0.3, 10), (0.3, 10), (0.3, 40)]


def test_step_of_a_run_without_changelog_is_refused(made: Compose, make_run: MakeRun) -> None:
    make_run("outputs/one")
    with pytest.raises(HydraException, match=r"does not have a changelog\.yaml, without which nothing is known"):
        made("+from=run/outputs/one@3")


def test_interpolations_stay_interpolations(made: Compose, make_run: MakeRun) -> None:
    run = make_run("outputs/one", edits=EDITS)
    assert str(run) in (run / "changelog.yaml").read_text()
    config = made("+from=run/outputs/one", "lr=0.7")
    assert config.lr_end == 0.7
    assert OmegaConf.to_container(config)["out"] == "${hydra:runtime.output_dir}/checkpoints"


def test_edited_interpolation_is_the_value_it_was_given(made: Compose, make_run: MakeRun) -> None:
    make_run("outputs/one", edits=[Edit(5, {"lr_end": 0.01, "out": "/elsewhere"})])
    config = made("+from=run/outputs/one")
    assert (config.lr_end, config.out) == (0.01, "/elsewhere")


def test_absolute_path_and_several_sources_of_which_the_later_wins(
    made: Compose, make_run: MakeRun, tmp_path: Path
) -> None:
    one = make_run("outputs/one", "lr=0.3", "steps=20")
    make_run("elsewhere/other", "lr=0.5", "norm=new")
    assert made(f"+from=run/{one}").lr == 0.3
    config = made(f"+from=[run/{one},run/elsewhere/other]")
    assert (config.lr, config.steps, config.norm.name) == (0.5, 10, "new")


def test_latest_and_wildcards_are_the_newest_run_and_said(
    made: Compose, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate(("a_1", "a_2", "b_1")):
        run = make_run(f"outputs/day/{name}", f"steps={number}")
        (run / "status.yaml").write_text(f"state: done\nstarted: '2026-01-0{9 - number}T00:00:00+00:00'\n")
    assert made("+from=run/outputs/latest").steps == 0
    assert made("+from='run/outputs/day/[ab]_1'").steps == 0
    assert made("+from=run/outputs/day/b*").steps == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.rpartition("day/")[2] for line in said] == ["a_1, the newest of 3", "a_1, the newest of 2", "b_1"]
    with pytest.raises(HydraException, match=r"\+from=run/outputs/c\*: no run matches"):
        made("+from=run/outputs/c*")


def test_keys_that_the_config_does_not_have(made: Compose, conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (conf.parent / "more.json").write_text('{"lr": 1, "zeta": 3, "norm": {"q": {"a": 1, "b": 2}}}')
    with pytest.raises(HydraException, match=r"this config has no zeta, norm\.q\.a, norm\.q\.b; .*\+from_unknown=drop"):
        made("+from=json/more.json")
    dropped = made("+from=json/more.json", "+from_unknown=drop")
    assert (dropped.lr, "zeta" in dropped, "q" in dropped.norm) == (1.0, False, False)
    assert "more.json: left out, as this config does not have them: zeta, norm.q.a, norm.q.b" in capsys.readouterr().err
    added = made("+from=json/more.json", "+from_unknown=add")
    assert (added.zeta, added.norm.q) == (3, {"a": 1, "b": 2})
    assert "from_unknown" not in added
    with pytest.raises(HydraException, match="Could not find 'from_unknown/drip'"):
        made("+from=json/more.json", "+from_unknown=drip")


def test_hydra_and_trainctl_never_come_from_a_source(made: Compose, conf: Path) -> None:
    (conf.parent / "x.yaml").write_text("hydra: {run: {dir: /tmp}, job: {chdir: true}}\ntrainctl: {seed: 3}\nlr: 0.4\n")
    config = made("+from=yaml/x.yaml", whole=True)
    assert config.lr == 0.4
    assert "trainctl" not in config
    assert config.hydra.run.dir.startswith("outputs/")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("+from=run/outputs/none", r"\+from=run/outputs/none: there is no run dir"),
        ("+from=run/conf", r"conf' is not a run dir; nor is there one below it"),
        ("+from=runs/outputs/one", r"\+from=runs/outputs/one names no kind of source; write \+from=run/outputs/one"),
        ("+from=conf.ini", r"\+from=conf.ini names no kind of source; write \+from=ini/conf.ini"),
        ("+from=", r"\+from= names no source; write \+from=KIND/PLACE with one of the kinds gin"),
        ("+from=3", r"or \+\+from=3 if you mean a key of that name"),
        ("+from=[ini/conf.ini,conf]", r"\+from=conf names no kind of source; write \+from=run/conf"),
        ("++from=ini/conf.ini", r"\+\+from=ini/conf.ini would set a key; \+from=ini/conf.ini loads the source"),
        ("+from=json/none.json", r"\+from=json/none.json: there is no file"),
        ("+from=yaml/conf/config.yaml", "has a defaults list, which only Hydra follows"),
        ("+from=json/conf/config.yaml", r"config.yaml, line 2, column 1: not JSON: expecting value"),
        ("+from@nowhere=ini/conf.ini", r"this config has no nowhere\.lr"),
        ("from=run/outputs/one", "Could not override 'from'"),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_one_sentence(
    made: Compose, conf: Path, override: str, sentence: str
) -> None:
    (conf.parent / "conf.ini").write_text("[DEFAULTS]\nlr = 1\n")
    with pytest.raises(HydraException, match=sentence):
        made(override)


def test_source_below_a_package(made: Compose, conf: Path) -> None:
    (conf.parent / "norm.ini").write_text("[DEFAULTS]\nmomentum = 1\n")
    assert made("+from@norm=ini/norm.ini").norm.momentum == 1.0


def test_source_in_the_apps_own_defaults_list(made: Compose, make_run: MakeRun, conf: Path) -> None:
    make_run("outputs/one", "norm=new", "lr=0.3")
    (conf / "again.yaml").write_text("defaults: [config, from: run/outputs/one, from_unknown: drop, _self_]\n")
    config = made("steps=3", config_name="again")
    assert (config.lr, config.steps, config.norm.groups) == (0.3, 3, 4)
    (conf.parent / "x.ini").write_text("[DEFAULTS]\nlr = 4\nnot_there = 1\n")
    if hydra.__version__.startswith("1.3."):  # 1.4 knows that entry as one of the group `from/run/outputs`
        assert made("from=ini/x.ini", config_name="again").lr == 4.0


def test_key_of_an_app_that_is_called_from_stays_its_own(made: Compose, conf: Path) -> None:
    (conf / "years.yaml").write_text("from: 2020\nfrom_unknown: a\n")
    assert made("from=2021", "from_unknown=drop", config_name="years") == {"from": 2021, "from_unknown": "drop"}
    assert made("from=run/a", config_name="years")["from"] == "run/a"
    assert "from" not in made("~from", config_name="years")
    assert made("++from=2021")["from"] == 2021


def test_group_of_an_app_that_is_called_from_stays_its_own(made: Compose, conf: Path) -> None:
    (conf / "from").mkdir()
    (conf / "from" / "here.yaml").write_text("city: x\n")
    assert made("+from=here")["from"] == {"city": "x"}


def test_option_that_is_gone_leaves_its_values(made: Compose, make_run: MakeRun, conf: Path) -> None:
    make_run("outputs/one", "norm=new", "lr=0.3")
    (conf / "norm" / "new.yaml").unlink()
    with pytest.raises(HydraException, match=r"this config has no norm\.groups"):
        made("+from=run/outputs/one")
    assert made("+from=run/outputs/one", "+from_unknown=drop").norm.name == "new"


def test_keys_that_the_command_line_adds_or_takes_away_are_its_own(made: Compose, make_run: MakeRun) -> None:
    make_run("outputs/one", "norm=new", "+new=1", "lr=0.3")
    config = made("+from=run/outputs/one", "+new=2", "~norm", "~verbose")
    assert (config.new, config.lr, "norm" in config, "verbose" in config) == (2, 0.3, False, False)


def test_copy_of_what_was_loaded_stays_with_the_config(made: Compose, conf: Path) -> None:
    (conf.parent / "x.json").write_text('{"name": "${oc.env:HOME} $ \\\\${x}"}')
    config = made("+from=json/x.json", whole=True)
    assert config.name == "${oc.env:HOME} $ \\${x}"
    (copy,) = kept_copies(config.hydra)
    assert (copy["source"], copy["origin"], copy["form"]) == ("json/x.json", str(conf.parent / "x.json"), "plain")
    assert kept_copies(made(whole=True).hydra) == []
