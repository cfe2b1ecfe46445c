"""Our YAML text of a config is OmegaConf's, byte for byte."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from hydra.conf import HydraConf
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import get_omega_conf_dumper

from trainctl.launch import yamltext


class Kind(Enum):
    NEW = 1


WORDS = ["yes", "Off", "null", "~", "nan", "inf", "Infinity", "1e5", "0x1f", "012", "1_000", "2026-01-01", "=", "<<"]
SIGNS = [
    "a: b",
    "- a",
    "#a",
    "a #b",
    "a\nb",
    "a\n\n b\n",
    "'",
    '"',
    "${a}",
    "???",
    "",
    " a",
    "a ",
    "é",
    "\t",
    "%a",
    "@a",
]
LONG = [
    "word " * 30,
    "w" * 150,
    "a/b-c=d.e",
    "x=1",
    "--a",
    "a:",
    ":a",
    "/",
    "_",
    "a=-b",
    "a-=b",
    "\x85",
    "😀",
    "!a",
    "&a",
]
drawn = st.text(max_size=12).filter(lambda text: "${" not in text)  # half an interpolation is no config
texts = st.one_of(st.sampled_from(WORDS + SIGNS + LONG), drawn, st.from_regex(r"[a-z=./-]{1,6}"))
scalars = st.one_of(
    texts, st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from([Kind.NEW, Path("a b"), b"raw"])
)
keys = st.one_of(texts, st.integers(), st.booleans(), st.floats(allow_nan=False), st.sampled_from(Kind))
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=15,
)
containers = st.one_of(st.dictionaries(keys, trees, max_size=4), st.lists(trees, max_size=4))


def write(config: Any, **options: bool) -> Any:
    """Return what OmegaConf writes; or its error."""
    return _outcome(OmegaConf.to_yaml, config, **options), _outcome(yamltext.to_yaml, config, **options)


def _outcome(to_yaml: Any, config: Any, **options: bool) -> Any:
    try:
        return to_yaml(config, **options)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is to be the same
        return type(error), str(error)


@settings(max_examples=600, deadline=None)
@given(containers)
def test_text_is_omegaconfs(container: Any) -> None:
    config = OmegaConf.create(container)
    for _ in range(2):  # the second time from memory
        expected, ours = write(config)
        assert ours == expected


def test_text_of_hydras_own_config_is_omegaconfs() -> None:
    config = OmegaConf.create({"hydra": OmegaConf.structured(HydraConf), "lr": 0.1, "deep": {"a": {"b": [{}, []]}}})
    config.hydra.help.template = "Powered by Hydra\n\n  ${hydra.help.header}\n" * 3
    expected, ours = write(config)
    assert ours == expected
    assert "Powered by" in ours


def test_values_of_equal_repr_or_equal_value_are_told_apart() -> None:
    for container in ({"a": 1}, {"a": True}, {"a": 1.0}, {"a": "1"}, {"a": 0.0}, {"a": -0.0}, {1: "a"}, {True: "a"}):
        expected, ours = write(OmegaConf.create(container))
        assert ours == expected


def test_one_object_in_two_places_is_left_to_omegaconf() -> None:
    path = Path("a")
    config = DictConfig({"a": path, "b": path})
    expected, ours = write(config)
    assert ours == expected


def test_options_are_left_to_omegaconf() -> None:
    config = OmegaConf.create({"b": 1, "a": "${b}"})
    for options in ({"resolve": True}, {"sort_keys": True}):
        expected, ours = write(config, **options)
        assert ours == expected


def test_dumper_that_was_taught_something_is_left_to_omegaconf(monkeypatch: Any) -> None:
    config = OmegaConf.create({"a": 1, "b": "b"})
    yamltext.to_yaml(config)
    dumper = get_omega_conf_dumper()
    taught = {**dumper.yaml_representers, int: lambda dumper, value: dumper.represent_str(f"number {value}")}
    monkeypatch.setattr(dumper, "yaml_representers", taught)
    assert yamltext.to_yaml(config) == OmegaConf.to_yaml(config) == "a: number 1\nb: b\n"
    monkeypatch.undo()
    resolvers = {**dumper.yaml_implicit_resolvers, "b": [("!b", yaml.resolver.re.compile("b"))]}
    monkeypatch.setattr(dumper, "yaml_implicit_resolvers", resolvers)
    assert yamltext.to_yaml(config) == OmegaConf.to_yaml(config) == "a: 1\n'b': 'b'\n"
