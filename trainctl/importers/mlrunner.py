"""Converting mlrunner's `params.yaml` to a config for `trainctl run`: commands, config groups, grids.

The first YAML document has `template`, `resource`, `default` and `alias`, each further one is a grid with the reserved
keys `_title` and `_cmd`. Values are read by PyYAML's rules, as there (`1e-3` is text).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml as pyyaml

from trainctl.config import yaml
from trainctl.config.overrides import worded
from trainctl.config.values import literal
from trainctl.errors import SourceError

_PLACEHOLDER = re.compile(r"(\{[\w-]+\}|\[[\w-]+\])")
_PARAMETER = re.compile(r"[A-Za-z_][\w-]*")
_OPTION = re.compile(r"[\w.+-]+")
_USED = re.compile(r"\$\{(?:flag:)?([\w-]+)\}")
_LINE_BREAK = re.compile(r"\s*\n\s*")
_RESERVED = {"_output": "${run_dir:}", "_name": "${run_name:}", "_time": "${now:%Y%m%d.%H%M%S}"}
_RESERVED["_datetime"] = _RESERVED["_time"]
_TAKEN = ("commands", "defaults", "hydra", "trainctl")
_ONLY = "trainctl.run.only"


@dataclass(frozen=True, slots=True)
class ImportedFiles:
    """Files by their path below the directory that takes them, and what could not be carried over as it was."""

    files: dict[str, str]
    notes: list[str] = field(default_factory=list)


def carry(text: str, source: str, name: str = "params.yaml") -> ImportedFiles:
    """Convert a `params.yaml`; the config file is called `name`.

    Raises:
        SourceError: it is not one, or has something that mlrunner refuses too.
    """
    head, *grids = _documents(text, source)
    templates, aliases = _mapping(head, "template", source), _aliases(head, source)
    if not templates:
        raise SourceError(f"{source}: `template` must name at least one command in the first document")
    notes = [f"document {place} is empty; left out" for place, each in enumerate(grids, 2) if not each]
    choices = [_unshadowed(each, place, aliases, notes) for place, each in enumerate(grids, 2) if each]
    parameters = _parameters(_mapping(head, "default", source), aliases, choices, notes)
    for key in (*parameters, *aliases):
        if key in _TAKEN or not _PARAMETER.fullmatch(key):
            raise SourceError(f"{source}: the parameter {key!r} cannot be a key of the config; rename it")
    commands = {name: _command(name, value, parameters, aliases, notes, source) for name, value in templates.items()}
    defaults: list[Any] = ["trainctl", "_self_", *({alias: None} for alias in aliases)]
    config = {
        "defaults": [*defaults, {"override hydra/sweeper": "grids"}] if choices else defaults,
        **{key: literal(_scalar(value)) for key, value in parameters.items()},
        "commands": commands,
        "hydra": _hydra(head, [_grid(each, commands, aliases, source) for each in choices], source),
    }
    notes += _without_value(choices or [{}], commands, parameters, aliases)
    files = {name: f"# from mlrunner's {source}: trainctl run --config {name}\n{yaml.dumps(config)}"}
    for alias, cases in aliases.items():
        for case, values in cases.items():
            content = {key: literal(_scalar(value)) for key, value in values.items()}
            files[f"{alias}/{case}.yaml"] = f"# @package _global_\n{yaml.dumps(content)}"
    return ImportedFiles(files, notes)


def _parameters(
    defaults: Mapping[str, Any], aliases: Mapping[str, Any], choices: list[dict[str, Any]], notes: list[str]
) -> dict[str, Any]:
    """Return all parameters with their defaults; null for those that only some grid or alias knows."""
    notes += [
        f"default.{key}: an alias has no default in mlrunner either; left out" for key in defaults if key in aliases
    ]
    known = {key: value for key, value in defaults.items() if key not in aliases}
    for mapping in (*choices, *(case for cases in aliases.values() for case in cases.values())):
        for key in mapping:
            if key not in aliases and key not in ("_cmd", "_title"):
                known.setdefault(key, None)
    return known


def _unshadowed(choice: dict[str, Any], place: int, aliases: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Return a grid without what its aliases set anyway: in mlrunner they have the last word."""
    lost: dict[str, str] = {}
    for alias in sorted(choice.keys() & aliases.keys()):
        lost |= dict.fromkeys(set.intersection(*(set(case) for case in aliases[alias].values())) & choice.keys(), alias)
    why = "left out, as mlrunner takes that of the alias"
    notes += [f"document {place} sets {key}, and {lost[key]}, which sets it too; {why}" for key in sorted(lost)]
    return {key: value for key, value in choice.items() if key not in lost}


def _without_value(
    choices: list[dict[str, Any]], commands: Mapping[str, str], known: Mapping[str, Any], aliases: Mapping[str, Any]
) -> list[str]:
    """Tell of each command of a grid that uses a parameter without a value there, which mlrunner refuses."""
    notes: list[str] = []
    for place, choice in enumerate(choices, 2):
        wanted = choice.get("_cmd") or list(commands)
        cases = (case for key in choice.keys() & aliases.keys() for case in aliases[key].values())
        given = {*choice, *(key for case in cases for key in case), *(key for key in known if known[key] is not None)}
        for name in (each for each in commands if each in wanted):
            used = _USED.findall(commands[name])
            lost = sorted({key for key in used if key in known} - given)
            notes += [f"document {place} gives {key} no value, but template.{name} needs it" for key in lost]
    return notes


def _documents(text: str, source: str) -> list[dict[str, Any]]:
    try:
        documents = list(pyyaml.load_all(text, Loader=pyyaml.SafeLoader))
    except Exception as error:  # PyYAML raises anything where a tag and its value do not fit
        raise SourceError(f"{source} is not YAML: {yaml.why_unread(error)}") from error
    if documents and documents[0] is None:
        documents = documents[1:]
    if not documents or not isinstance(documents[0], dict) or not {"template", "resource"} <= documents[0].keys():
        raise SourceError(f"{source} is not mlrunner's: its first document must have `template` and `resource`")
    for place, each in enumerate(documents):
        if each is not None and not isinstance(each, dict):
            raise SourceError(f"{source}: document {place + 1} must be a mapping of parameters to values")
    return [{str(key): value for key, value in (each or {}).items()} for each in documents]


def _mapping(head: Mapping[str, Any], key: str, source: str) -> dict[str, Any]:
    value = head.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SourceError(f"{source}: `{key}` must be a mapping, but is {value!r}")
    return {str(name): each for name, each in value.items()}


def _aliases(head: Mapping[str, Any], source: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Return alias -> case -> parameters."""
    aliases = _mapping(head, "alias", source)
    for alias, cases in aliases.items():
        if not isinstance(cases, dict) or not all(isinstance(case, dict) and case for case in cases.values()):
            raise SourceError(f"{source}: alias.{alias} must map each of its cases to parameters with values")
        aliases[alias] = {str(name): {str(key): value for key, value in case.items()} for name, case in cases.items()}
        for name in aliases[alias]:
            if not _OPTION.fullmatch(name):
                raise SourceError(f"{source}: the case {name!r} of alias.{alias} cannot be a file's name; rename it")
    return aliases


def _command(
    name: str, text: Any, known: Mapping[str, Any], aliases: Mapping[str, Any], notes: list[str], source: str
) -> str:
    if not isinstance(text, str):
        raise SourceError(f"{source}: template.{name} must be the text of a command, but is {text!r}")
    parts: list[str] = [""]  # text and interpolations by turns
    for part in _PLACEHOLDER.split(_LINE_BREAK.sub(" ", text).strip()):
        parameter = part[1:-1] if _PLACEHOLDER.fullmatch(part) else ""
        if parameter in aliases:
            raise SourceError(
                f"{source}: template.{name} has {part}, but {parameter} is an alias: it stands for others"
            )
        if parameter in _RESERVED:
            parts += [_RESERVED[parameter], ""]
        elif parameter in known:
            parts += [f"${{flag:{parameter}}}" if part[0] == "[" else f"${{{parameter}}}", ""]
        else:
            parts[-1] += part
            if parameter:
                notes.append(f"template.{name}: {part} is not a parameter; left as it is")
    for place in range(0, len(parts), 2):
        parts[place] = str(literal(parts[place]))
        if place + 1 < len(parts):  # else OmegaConf takes them for the escape of the interpolation
            parts[place] = re.sub(r"(\\+)$", r"\1\1", parts[place])
    return "".join(parts)


def _grid(
    choice: Mapping[str, Any], commands: Mapping[str, str], aliases: Mapping[str, Any], source: str
) -> dict[str, Any]:
    grid: dict[str, Any] = {}
    for key, value in choice.items():
        values = list(value) if isinstance(value, (list, tuple)) else [value]
        if key == "_cmd" and not value:
            continue  # all of them, in mlrunner too
        if not values:
            raise SourceError(f"{source}: {key} has no values, so its grid would run nothing")
        if key == "_title":
            grid["_title"] = str(value)
        elif key == "_cmd":
            unknown = [str(each) for each in values if str(each) not in commands]
            if unknown:
                raise SourceError(f"{source}: _cmd names {unknown[0]!r}, but `template` has {', '.join(commands)}")
            grid[_ONLY] = worded([str(each) for each in values])
        elif key in aliases:
            grid[key] = [_case(str(each), key, aliases, source) for each in values]
        else:
            grid[key] = [_scalar(each) for each in values]
            if literal(grid[key]) != grid[key]:
                raise SourceError(
                    f"{source}: {key} has a value with ${{, which a grid cannot have; make it a case of an alias"
                )
    return grid


def _case(name: str, alias: str, aliases: Mapping[str, Any], source: str) -> str:
    if name not in aliases[alias]:
        raise SourceError(
            f"{source}: {alias} has {name!r}, but alias.{alias} has the cases {', '.join(aliases[alias])}"
        )
    return name


def _hydra(head: Mapping[str, Any], grids: list[dict[str, Any]], source: str) -> dict[str, Any]:
    resource = head.get("resource")
    if not isinstance(resource, list) or not resource:
        raise SourceError(f"{source}: `resource` must be a list of devices, but is {resource!r}")
    slots = [each if isinstance(each, int) else str(each) or "cpu" for each in resource]  # "" sees no device
    hydra: dict[str, Any] = {"launcher": {"slots": slots}}
    return {**hydra, "sweeper": {"grids": grids}} if grids else hydra


def _scalar(value: Any) -> Any:
    """Return a value that Hydra's grammar can say; a date is text, as a command would get it."""
    if isinstance(value, (list, tuple)):
        return [_scalar(each) for each in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
