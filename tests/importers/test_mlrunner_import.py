"""What mlrunner's format becomes, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from trainctl.config import yaml
from trainctl.errors import SourceError
from trainctl.importers.mlrunner import ImportedFiles, carry


def carried(template: str = "t", head: str = "", grids: str = "") -> ImportedFiles:
    return carry(f"template: {{t: {yaml.inline(template)}}}\nresource: [0]\n{head}\n{grids}", "params.yaml")


def config(template: str = "t", head: str = "", grids: str = "") -> dict[str, Any]:
    return dict(yaml.loads(carried(template, head, grids).files["params.yaml"]))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("t {a} [a] x{a}y", "t ${a} ${flag:a} x${a}y"),
        ("t {_output}/x {_name} {_time}", "t ${run_dir:}/x ${run_name:} ${now:%Y%m%d.%H%M%S}"),
        ("t\n   [b-c]\n  x\n", "t ${flag:b-c} x"),
        ("awk '{print}' {a b} [ -f x ] $HOME", "awk '{print}' {a b} [ -f x ] $HOME"),
        ("t ${HOME} {a}", "t \\${HOME} ${a}"),
        ("t \\{a}", "t \\\\${a}"),
    ],
)  # fmt: skip
def test_placeholders_become_interpolations(template: str, expected: str) -> None:
    assert config(template, "default: {a: 1, b-c: x}")["commands"]["t"] == expected


def test_unknown_placeholders_stay_and_are_told() -> None:
    imported = carried("t {gone} [lost]", "default: {a: 1}")
    assert yaml.loads(imported.files["params.yaml"])["commands"]["t"] == "t {gone} [lost]"
    assert imported.notes == [
        "template.t: {gone} is not a parameter; left as it is",
        "template.t: [lost] is not a parameter; left as it is",
    ]


def test_values_keep_their_types_as_mlrunner_reads_them() -> None:
    found = config("t", "default: {a: 1e-3, b: 1.0, c: yes, d: 2026-01-01, e: '${x}', f: null}")
    assert [found[key] for key in "abcdef"] == ["1e-3", 1.0, True, "2026-01-01", "\\${x}", None]
    assert config()["hydra"] == {"launcher": {"slots": [0]}}


def test_documents_become_grids_with_titles_and_commands() -> None:
    found = config("t {a}", "default: {a: 1}", "---\n_title: one\n_cmd: t\na: [1, 2]\nnew: x\n---\n---\na: 3\n")
    assert found["hydra"]["sweeper"]["grids"] == [
        {"_title": "one", "trainctl.run.only": "[t]", "a": [1, 2], "new": ["x"]},
        {"a": [3]},
    ]
    assert found["new"] is None
    assert found["defaults"] == ["trainctl", "_self_", {"override hydra/sweeper": "grids"}]
    assert carried(grids="---\n").notes == ["document 2 is empty; left out"]


def test_no_commands_named_are_all_of_them_and_no_device_is_the_cpu() -> None:
    for empty in ("[]", "null", "''"):
        assert config("t {a}", "default: {a: 1}", f"---\n_cmd: {empty}\na: 2")["hydra"]["sweeper"]["grids"] == [
            {"a": [2]}
        ]
    made = carry("template: {t: x}\nresource: ['', '0,1']", "params.yaml")
    assert yaml.loads(made.files["params.yaml"])["hydra"]["launcher"]["slots"] == ["cpu", "0,1"]


def test_parameter_without_a_value_is_told_where_a_command_needs_it() -> None:
    head = "default: {a: 1, n: null}\nalias: {arch: {pre: {x: 1}}}"
    template = "t {a} {x} [b] {n}"
    grids = "---\na: 2\n---\narch: pre\nb: 1\n---\n_cmd: t\nx: 1"
    assert carried(template, head, grids).notes == [
        "document 2 gives b no value, but template.t needs it",
        "document 2 gives n no value, but template.t needs it",
        "document 2 gives x no value, but template.t needs it",
        "document 3 gives n no value, but template.t needs it",
        "document 4 gives b no value, but template.t needs it",
        "document 4 gives n no value, but template.t needs it",
    ]
    assert carried("t {a}", "default: {a: 1}").notes == []


def test_cases_of_an_alias_are_names_whatever_yaml_reads() -> None:
    imported = carried("t {x}", "alias: {arch: {yes: {x: 1}, 2: {x: 2}, 1.50: {x: 3}}}", "---\narch: [yes, 2, 1.5]")
    assert yaml.loads(imported.files["params.yaml"])["hydra"]["sweeper"]["grids"] == [{"arch": ["True", "2", "1.5"]}]
    assert [name for name in imported.files if "/" in name] == ["arch/True.yaml", "arch/2.yaml", "arch/1.5.yaml"]


def test_parameter_that_an_alias_sets_is_the_aliases_as_in_mlrunner() -> None:
    imported = carried("t {x}", "alias: {arch: {pre: {x: 1}, post: {x: 2}}}", "---\nx: [5, 6]\narch: [pre, post]")
    grids = yaml.loads(imported.files["params.yaml"])["hydra"]["sweeper"]["grids"]
    assert grids == [{"arch": ["pre", "post"]}]
    assert imported.notes == [
        "document 2 sets x, and arch, which sets it too; left out, as mlrunner takes that of the alias"
    ]


def test_aliases_become_config_groups() -> None:
    head = "default: {x: 0, arch: pre}\nalias: {arch: {pre: {x: 1, y: a}, post: {x: 2, y: b}}}"
    imported = carried("t {x} [y]", head, "---\narch: [pre, post]")
    assert {name: yaml.loads(text) for name, text in imported.files.items() if name != "params.yaml"} == {
        "arch/pre.yaml": {"x": 1, "y": "a"},
        "arch/post.yaml": {"x": 2, "y": "b"},
    }
    assert imported.files["arch/pre.yaml"].startswith("# @package _global_\n")
    found = yaml.loads(imported.files["params.yaml"])
    assert found["defaults"][2] == {"arch": None}
    assert (found["x"], found["y"], "arch" in found) == (0, None, False)
    assert imported.notes == ["default.arch: an alias has no default in mlrunner either; left out"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [", "params.yaml is not YAML: line 1, column 5: expected the node content, but found '<stream end>'"),
        ("a: 2026-02-30", "params.yaml is not YAML: a number, day or tagged value cannot be read"),
        (
            "a: !!python/name:os {}",
            "params.yaml is not YAML: line 1, column 4: the tag '!!python/name:os' is not allowed",
        ),
        ("", "its first document must have `template` and `resource`"),
        ("- 1", "document 1 must be a mapping|its first document must have"),
        ("template: {t: x}", "its first document must have `template` and `resource`"),
        ("template: {}\nresource: [0]", "`template` must name at least one command"),
        ("template: [t]\nresource: [0]", "`template` must be a mapping"),
        ("template: {t: 1}\nresource: [0]", "template.t must be the text of a command, but is 1"),
        ("template: {t: x}\nresource: []", r"`resource` must be a list of devices, but is \[\]"),
        ("template: {t: x}\nresource: [0]\n---\n- a", "document 2 must be a mapping of parameters"),
        ("template: {t: x}\nresource: [0]\n---\na: []", "a has no values, so its grid would run nothing"),
        ("template: {t: x}\nresource: [0]\n---\n_cmd: [u]", "_cmd names 'u', but `template` has t"),
        ("template: {t: x}\nresource: [0]\ndefault: {hydra: 1}", "the parameter 'hydra' cannot be a key"),
        ("template: {t: x}\nresource: [0]\ndefault: {a.b: 1}", "the parameter 'a.b' cannot be a key"),
        ("template: {t: '{a}'}\nresource: [0]\nalias: {a: {c: {x: 1}}}", r"template.t has \{a\}, but a is an alias"),
        (
            "template: {t: x}\nresource: [0]\nalias: {a: {c: {x: 1}}}\n---\na: [d]",
            "a has 'd', but alias.a has the cases c",
        ),
        ("template: {t: '{a}'}\nresource: [0]\n---\na: ['${x}']", r"a has a value with \$\{, which a grid cannot have"),
        ("template: {t: x}\nresource: [0]\nalias: {a: [x, y]}", "alias.a must map each of its cases to parameters"),
        ("template: {t: x}\nresource: [0]\nalias: {a: {c/d: {x: 1}}}", "the case 'c/d' of alias.a cannot be a file"),
    ],
)
def test_what_is_not_mlrunners_is_refused_with_a_reason(text: str, sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence):
        carry(text, "params.yaml")
