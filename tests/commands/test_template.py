"""Commands with their values: flags, lists, what is missing, what is unused."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from trainctl.commands.progress import chosen, digests
from trainctl.commands.template import Place, Templates, pieces
from trainctl.errors import CommandError

HERE = Place("/runs/Norm new", "Norm new")


def line(text: str, flags: str = "as_written", **values: Any) -> str:
    return Templates(OmegaConf.create({**values, "commands": {"x": text}}), flags).line("x", HERE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("t ${norm} ${flag:moment} ${flag:on} ${flag:off}.", "t new --moment 0.1 --on ."),
        ("t ${early-stop} ${flag:early-stop}", "t False "),
        ("t ${optim.lr} ${flag:optim.lr}", "t 1e-05 --optim.lr 1e-05"),
        ("t ${flag:norm,nothing,on}", "t --norm new --on"),
        ("t ${sizes} ${flag:sizes} ${flag:empty}.", "t 1 2 --sizes 1 2 ."),
        ("t ${run_dir:}/x ${run_name:}", "t '/runs/Norm new'/x 'Norm new'"),
        ("t ${both} '${both}' \"${both}\"", "t 'a b' 'a b' \"a b\""),
        (r"t \${HOME} $HOME {a,b} ${norm}", "t ${HOME} $HOME {a,b} new"),
        ("t ${.y} ${oc.select:optim.lr,3}", "t 7 1e-05"),
    ],
)
def test_values_and_flags_are_filled_in(text: str, expected: str) -> None:
    config = OmegaConf.create(
        {
            "norm": "new", "moment": 0.1, "on": True, "off": False, "early-stop": False, "optim": {"lr": 1e-5},
            "nothing": None, "sizes": [1, 2], "empty": [], "both": "${first} b", "first": "a",
            "commands": {"x": text, "y": "7"},
        }
    )  # fmt: skip
    assert Templates(config).line("x", HERE) == expected
    assert config.commands._get_node("x")._value() == text  # the config is as it was


def test_flags_are_written_with_dashes_or_underscores() -> None:
    values = {"a_b-c": 1}
    assert line("t ${flag:a_b-c}", **values) == "t --a_b-c 1"
    assert line("t ${flag:a_b-c}", "dashes", **values) == "t --a-b-c 1"
    assert line("t ${flag:a_b-c}", "underscores", **values) == "t --a_b_c 1"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("t ${none}", r"\$\{none\} is null, which no command can be given; \$\{flag:…\} leaves it out"),
        ("t ${gone}", r"\$\{gone\} has no value: Interpolation key 'gone' not found"),
        ("t ${flag:gone}", r"\$\{gone\} has no value"),
        ("t ${later}", r"\$\{later\} has no value"),
        ("t ${map}", r"\$\{map\} is a DictConfig, which no command can be given; name a key below it"),
        ("t ${flag:a b}", r"must name a key of the config, or several: \$\{flag:lr,momentum\}"),
        ("t '${flag:one}'", "stands inside quotes; a flag is words of its own"),
        ("  ", "commands.x='  ' must be the text of a command"),
    ],
)
def test_what_cannot_be_filled_in_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        line(text, none=None, map={"a": 1}, one=1, later="???")


def test_what_omegaconf_cannot_read_is_one_sentence() -> None:
    with pytest.raises(CommandError, match=r"here cannot be read: .* a `\$\{` that is the shell's is written \\\$\{"):
        list(pieces("t ${", "here"))


def test_configs_without_commands_are_refused() -> None:
    for config in ({}, {"commands": {}}, {"commands": "t"}):
        with pytest.raises(CommandError, match="the config has no commands; write `commands:`"):
            Templates(OmegaConf.create(config))


def test_unused_parameters_are_those_that_no_command_reaches() -> None:
    config = OmegaConf.create(
        {
            "used": "${deep.a}", "deep": {"a": "${source}"}, "source": 1, "by_flag": 1, "picked": 1, "which": "picked",
            "orphan": "${used}", "alone": 1, "trainctl": {}, "hydra": {},
            "commands": {"x": "t ${used} ${flag:by_flag}", "y": "t ${oc.select:${which}}"},
        }
    )  # fmt: skip
    assert Templates(config).unused() == ["alone", "orphan", "picked"]


def test_digest_tells_texts_and_values_but_not_place_or_time() -> None:
    def of(text: str, **values: Any) -> str:
        return digests(Templates(OmegaConf.create({**values, "commands": {"x": text}})))["x"]

    assert of("t ${a}", a=1) == of("t 1") != of("t ${a}", a=2)
    text = "t ${run_dir:} ${run_name:} ${now:%f}"
    assert of(text) == of(text)


def test_commands_are_chosen_by_name_in_their_own_order() -> None:
    templates = Templates(OmegaConf.create({"commands": {"train": "1", "avg": "2", "test": "3"}}))
    assert chosen(templates, None) == ["train", "avg", "test"]
    assert chosen(templates, ["test", "avg"]) == ["avg", "test"]
    with pytest.raises(CommandError, match="there is no command 'tset'; the config has train, avg, test"):
        chosen(templates, ["tset"])
