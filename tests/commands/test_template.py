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
    return Templates(OmegaConf.create({**values, "commands": {"x": text}}), flags).line("x", HERE).text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("t ${norm} ${flag:moment} ${flag:on} ${flag:off}.", "t new --moment 0.1 --on ."),
        ("t ${early-stop} ${flag:early-stop}", "t False "),
        ("t ${optim.lr} ${flag:optim.lr}", "t 1e-05 --optim.lr 1e-05"),
        ("t ${flag:norm,nothing,on}", "t --norm new --on"),
        ("t ${sizes} ${flag:sizes} ${flag:empty}.", "t 1 2 --sizes 1 2 ."),
        ("t ${run_dir:}/x ${run_name:}", "t '/runs/Norm new'/x 'Norm new'"),
        ('t ${both} "${both}"', "t 'a b' \"a b\""),
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
    assert Templates(config).line("x", HERE).text == expected
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
        ("t ${gone}", r"\$\{gone\} has no value: .* 'gone' not found; a `\$\{` that is the shell's is written \\\$\{"),
        ("t ${x:-1}", r"has no value: Unsupported interpolation type x; a `\$\{` that is the shell's is written"),
        ("t ${flag:gone}", r"\$\{gone\} has no value"),
        ("t ${later}", r"\$\{later\} has no value"),
        ("t ${map}", r"\$\{map\} is a mapping, which no command can be given; name a key below it"),
        ("t ${flag:a b}", r"must name a key of the config, or several: \$\{flag:lr,momentum\}"),
        ("t '${flag:one}'", "cannot stand inside '…'"),
        ('t "${flag:one}"', "stands inside quotes; a flag is separate words"),
        ("  ", "commands.x='  ' must be the text of a command"),
        ("t \0", "commands.x='t .x00' must be the text of a command"),
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
    with pytest.raises(CommandError, match=r"commands.1: YAML does not read the name as text; write it in quotes"):
        Templates(OmegaConf.create({"commands": {1: "t"}}))
    with pytest.raises(CommandError, match=r"commands.x=True must be the text of a command; write it in quotes"):
        Templates(OmegaConf.create({"commands": {"x": True}}))


def test_values_may_name_the_run_dir() -> None:
    config = OmegaConf.create(
        {"save": "${run_dir:}/last ${ run_name: }", "deep": {"list": ["${save}"]}, "plain": r"\${run_dir:}",
         "commands": {"x": "t ${deep.list} ${plain}"}}
    )  # fmt: skip
    assert Templates(config).line("x", HERE).text == "t '/runs/Norm new/last Norm new' '${run_dir:}'"
    assert digests(Templates(config), ["x"]) == digests(Templates(config), ["x"])
    assert Templates(config).unused() == []


SECRETS = {
    "api_key": "it's a $secret", "short": {"password": "abc"}, "url": "https://me:${api_key}@host",
    "num_tokens": 7, "hidden": "below", "trainctl": {"hidden": ["!num_tokens", "hidden"]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("t ${api_key}", "t '•••'"),
        ("t ${flag:short.password} ${flag:num_tokens}", "t --short.password '•••' --num_tokens 7"),
        ('t "${url}" ${url} ${hidden}', "t \"https://me:•••@host\" 'https://me:•••@host' '•••'"),
        ("t ${oc.env:SOME_TOKEN}", "t '•••'"),
        ("A_TOKEN=text t ${num_tokens}", "A_TOKEN=••• t 7"),
    ],
)
def test_what_people_see_of_a_command_has_no_secrets(text: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "from elsewhere")
    assert Templates(OmegaConf.create({**SECRETS, "commands": {"x": text}})).line("x", HERE).shown == shown
    assert "•" not in line(text, **SECRETS)


@pytest.mark.parametrize("text", ["t '${gone}'", "t $((${api_key}))", "t `${flag:api_key}`", 't "${flag:api_key}"'])
def test_places_are_checked_without_any_value(text: str) -> None:
    templates = Templates(OmegaConf.create({**SECRETS, "commands": {"x": text, "y": "t ${gone}"}}))
    templates.check(["y"])
    with pytest.raises(CommandError, match=r"commands.x: \$\{.*(cannot stand|inside quotes)"):
        templates.check(["x", "y"])


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
        return digests(Templates(OmegaConf.create({**values, "commands": {"x": text}})), ["x"])["x"]

    assert of("t ${a}", a=1) == of("t 1") != of("t ${a}", a=2)
    text = "t ${run_dir:} ${run_name:} ${now:%f}"
    assert of(text) == of(text)


def test_commands_are_chosen_by_name_in_their_own_order() -> None:
    templates = Templates(OmegaConf.create({"commands": {"train": "1", "avg": "2", "test": "3"}}))
    assert chosen(templates, None) == ["train", "avg", "test"]
    assert chosen(templates, ["test", "avg"]) == ["avg", "test"]
    with pytest.raises(CommandError, match="there is no command 'tset'; the config has train, avg, test"):
        chosen(templates, ["tset"])
    with pytest.raises(CommandError, match=r"trainctl.run.only=\[\] names no command; the config has train, avg, test"):
        chosen(templates, [])


def test_commands_that_are_not_chosen_need_no_values() -> None:
    templates = Templates(OmegaConf.create({"a": 1, "b": None, "commands": {"x": "t ${a}", "y": "t ${b}"}}))
    assert list(digests(templates, ["x"])) == ["x"]
    with pytest.raises(CommandError, match=r"\$\{b\} is null"):
        digests(templates, ["x", "y"])
