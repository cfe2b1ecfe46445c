"""Hydra's overrides as text: parsed, and written so that Hydra reads the same value of the same type."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from trainctl.errors import SettingError

if TYPE_CHECKING:  # Hydra's parser takes longer to load than most commands of `trainctl` take
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Override

_PLAIN_PATH = re.compile(r"[A-Za-z0-9_/.+-]+( [A-Za-z0-9_/.+-]+)*")


def quoted(path: str) -> str:
    r"""Write a path as a value of Hydra's override grammar, quoted if it has special characters.

    >>> quoted("/runs/Norm_new"), quoted("/runs/lr=0.1,it's")
    ('/runs/Norm_new', "'/runs/lr=0.1,it\\'s'")
    """
    if _PLAIN_PATH.fullmatch(path):
        return path
    return _in_quotes(path.replace("${", "\\${"))  # else OmegaConf looks for a key of that name


def task_overrides(hydra: Any) -> list[str]:
    """Return the task's overrides from a config's `hydra` node verbatim: `lr=${a}` is not resolved."""
    return _verbatim(hydra, "task")


def hydra_overrides(hydra: Any) -> list[str]:
    """Return the overrides of Hydra's own node verbatim: `hydra.sweep.subdir=${hydra.job.num}` is not resolved."""
    return _verbatim(hydra, "hydra")


def _verbatim(hydra: Any, name: str) -> list[str]:
    texts: Any = OmegaConf.to_container(hydra.overrides[name], resolve=False)
    return [str(text) for text in texts]


_OF_SWEEPS = ("hydra.sweep", "hydra/sweep", "hydra.launcher", "hydra/launcher", "hydra.mode", "hydra.run.dir")


def of_one_run(texts: Iterable[str]) -> list[str]:
    """Return those overrides of Hydra's node that also apply to a single run of a job.

    >>> of_one_run(["hydra/launcher=slots", "hydra.job.chdir=true", "hydra.mode=RUN", "hydra/callbacks=[trainctl]"])
    ['hydra.job.chdir=true', 'hydra/callbacks=[trainctl]']
    """
    return [text for text in texts if not text.lstrip("+~").startswith(_OF_SWEEPS)]


def single_run_overrides(node: Any) -> list[str]:
    """Return the overrides of Hydra's node with which a job runs alone, from that node as Hydra writes it.

    A job whose launcher was a launcher of trainctl, and whose config lacks the callback, gets the callback.

    >>> single_run_overrides({"overrides": {"hydra": ["hydra.mode=RUN", "hydra.job.chdir=true"]}})
    ['hydra.job.chdir=true']
    """
    given, launcher, callbacks = (_mapping(_mapping(node).get(key)) for key in ("overrides", "launcher", "callbacks"))
    texts = given.get("hydra")
    kept = of_one_run(text for text in texts if isinstance(text, str)) if isinstance(texts, list) else []
    targets = {_mapping(each).get("_target_") for each in callbacks.values()}
    if str(launcher.get("_target_")).startswith("hydra_plugins.hydra_trainctl.") and _CALLBACK not in targets:
        kept.append(f"++hydra.callbacks.trainctl._target_={_CALLBACK}")
    return kept


def _mapping(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


_CALLBACK = "trainctl.callback.TrainctlCallback"
_PREFIX = re.compile(r"^(\+\+|\+|~)")
_MOST_KNOWN = 1 << 16  # texts; jobs of a sweep share most of them


def parse_overrides(texts: Sequence[str]) -> list[Override]:
    """Parse overrides as Hydra does; each distinct text is parsed once.

    Raises:
        OverrideParseException: one is not an override.
    """
    return [parse_override(text) for text in texts]


def parts_of(text: str) -> tuple[bool, str, str]:
    """Return whether an override deletes (`~`), its key, and its value, with booleans in lower case.

    >>> parts_of("++db@src=True"), parts_of("~opt")
    ((False, 'db@src', 'true'), (True, 'opt', ''))
    """
    key, _, value = text.partition("=")
    value = value.lower() if value.lower() in ("true", "false") else value
    prefix = _PREFIX.match(key)
    mark = prefix.group(0) if prefix else ""
    return mark == "~", key[len(mark) :], value


def task_parts(hydra: Any) -> list[tuple[bool, str, str]]:
    """Return the parts of the overrides of the task from a config's `hydra` node."""
    return [parts_of(text) for text in task_overrides(hydra)]


def override_key(text: str) -> str:
    """Return the key of an override without its prefix: `+db@src=x` -> `db@src`."""
    return parts_of(text)[1]


def texts_of(overrides: Iterable[Override]) -> list[str]:
    """Return overrides verbatim, as they were given."""
    return [str(each.input_line) for each in overrides]


def shared_texts(hydra: Any) -> frozenset[str]:
    """Return the texts of the overrides that all jobs of a sweep share, both as given on the command line and as
    sweepers rewrite them.
    """
    constant = [each for each in parse_overrides(task_overrides(hydra)) if not each.is_sweep_override()]
    rewritten = [f"{each.get_key_element()}={each.get_value_element_as_str()}" for each in constant]
    return frozenset([*texts_of(constant), *rewritten])


def swept_keys(job: Iterable[Override], shared: Collection[str]) -> frozenset[str]:
    """Return the keys of a job's overrides whose text is not one of those shared by the sweep.

    >>> sorted(swept_keys(parse_overrides(["norm=new", "epochs=3", "+db@src=x"]), {"epochs=3"}))
    ['db@src', 'norm']
    """
    return frozenset(each.get_key_element().lstrip("+~") for each in job if each.input_line not in shared)


@lru_cache(maxsize=_MOST_KNOWN)
def parse_override(text: str) -> Override:
    """Parse one override as Hydra does."""
    return _parser().parse_overrides([text])[0]


@cache
def _parser() -> OverridesParser:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORDS = {"true", "false", "null", "inf", "nan"}


def worded(value: Any) -> str:
    r"""Write a value so that Hydra reads back the same value: text that looks like another type is quoted.

    Raises:
        SettingError: the value is of a type that an override cannot have.

    >>> worded(0.1), worded(True), worded("new"), worded("true"), worded("a,b"), worded([1, None, {"k": "v"}])
    ('0.1', 'true', 'new', "'true'", "'a,b'", '[1,null,{k:v}]')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(worded(each) for each in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{worded(key)}:{worded(each)}" for key, each in value.items()) + "}"
    raise SettingError(f"{value!r} is a {type(value).__name__}, which no override can have; write it as text")


def _text(value: str) -> str:
    if _NAME.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return _in_quotes(value)


def _in_quotes(value: str) -> str:
    """Write a text in quotes. In Hydra's grammar a backslash is only special in front of a quote."""
    return "'" + re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), value) + "'"
