"""The actions of a run: the built-in ones, and those that the task declares."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Any, Literal

from trainctl.config import yaml
from trainctl.config.controls import Key
from trainctl.config.edit import parse_edit
from trainctl.errors import EditError, SettingError

BUILT_IN = {
    "pause": "wait at the start of the next step until resumed",
    "resume": "go on after a pause",
    "checkpoint": "ask the training loop for a checkpoint (live.should_checkpoint)",
    "evaluate": "ask the training loop for an evaluation (live.should_evaluate)",
    "stop": "ask the training loop to end (live.should_stop)",
}

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_TYPES: dict[Any, Literal["str", "int", "float", "bool"]] = {str: "str", int: "int", float: "float", bool: "bool"}
_REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Action:
    """An action that users can ask for by name. `call` is None for a built-in one.

    Attributes:
        keys: what each argument must be.
        defaults: the values of optional arguments.
    """

    name: str
    call: Callable[..., object] | None
    help: str | None = None
    keys: dict[str, Key] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the entry for `run.yaml`: each argument as `Key.to_dict` writes it, and its default."""
        arguments = {
            name: {**key.to_dict(), **({"default": self.defaults[name]} if name in self.defaults else {})}
            for name, key in self.keys.items()
        }
        record = {"help": self.help, "arguments": arguments}
        return {name: value for name, value in record.items() if value}

    def parse(self, given: Mapping[Any, Any]) -> dict[str, Any]:
        """Return the given arguments, with texts parsed by type; arguments left to their defaults are not included.

        Raises:
            EditError: one is unknown, missing, or not of its type.
        """
        unknown = sorted(str(name) for name in given if name not in self.keys)
        if unknown:
            allowed = f"allowed are {', '.join(self.keys)}" if self.keys else "it takes none"
            raise EditError(f"{self.name}: there is no argument {unknown[0]!r}; {allowed}")
        missing = [name for name in self.keys if name not in given and name not in self.defaults]
        if missing:
            raise EditError(f"{self.name}: the argument {missing[0]!r} is missing; give {missing[0]}=VALUE")
        try:
            return {name: parse_edit(name, given[name], self.keys) for name in self.keys if name in given}
        except EditError as error:
            raise EditError(f"{self.name}: {str(error).replace('the key takes', 'it takes')}") from error


class Actions:
    """The actions of one run by name, the built-in ones first."""

    def __init__(self) -> None:
        self._known = {name: Action(name, None, text) for name, text in BUILT_IN.items()}

    def declare(self, name: str, call: Callable[..., object]) -> Action:
        """Add an action of the task.

        Raises:
            SettingError: the name is invalid or taken, or the function's arguments cannot be given from outside.
        """
        if not _NAME.fullmatch(name):
            raise SettingError(f"live.action({name!r}): a name has letters, digits, - and _, and begins with a letter")
        if name in self._known:
            raise SettingError(f"live.action({name!r}): the action exists already; known are {self._names}")
        self._known[name] = action = _declared(name, call)
        return action

    def find(self, name: str) -> Action:
        """Return an action.

        Raises:
            EditError: there is none of that name.
        """
        if name not in self._known:
            raise EditError(f"there is no action {name!r:.200}; known are {self._names}")
        return self._known[name]

    def to_dict(self) -> dict[str, Any]:
        """Return the entries of all actions for `run.yaml`."""
        return {name: action.to_dict() for name, action in self._known.items()}

    @property
    def _names(self) -> str:
        return ", ".join(sorted(self._known))


def _declared(name: str, call: Callable[..., object]) -> Action:
    try:
        types = typing.get_type_hints(call)
    except NameError as error:
        raise SettingError(f"live.action({name!r}): an annotation cannot be read ({error})") from error
    keys: dict[str, Key] = {}
    defaults: dict[str, Any] = {}
    for parameter in inspect.signature(call).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise SettingError(f"live.action({name!r}): the argument {parameter.name!r} has no name to give it by")
        key = _key(types.get(parameter.name))
        if key is None:
            raise SettingError(
                f"live.action({name!r}): the argument {parameter.name!r} needs an annotation; allowed are str, int, "
                "float, bool, a Literal of such values, and one of these with | None"
            )
        keys[parameter.name] = key
        if parameter.default is not _REQUIRED:
            defaults[parameter.name] = parameter.default
    return Action(name, call, (inspect.getdoc(call) or "").partition("\n")[0] or None, keys, defaults)


def _key(annotation: Any) -> Key | None:
    """Return the key that describes an argument of this type; None if such a value cannot be given as text.

    >>> _key(Literal["fast", "slow"]) .choices, _key(int | None).optional
    (['fast', 'slow'], True)
    """
    optional = False
    if typing.get_origin(annotation) in (typing.Union, UnionType):
        inner = [one for one in typing.get_args(annotation) if one is not NoneType]
        if len(inner) != 1:
            return None
        annotation, optional = inner[0], True
    if annotation in _TYPES:
        return Key(_TYPES[annotation], optional, declared=True)
    if typing.get_origin(annotation) is Literal:
        choices = list(typing.get_args(annotation))
        kinds = {type(choice) for choice in choices}
        if kinds <= _TYPES.keys():
            return Key(_TYPES[kinds.pop()] if len(kinds) == 1 else "any", optional, declared=True, choices=choices)
    return None


def said(name: str, arguments: Mapping[str, Any]) -> str:
    """Write an action as a user would ask for it.

    >>> said("sample", {"n": 4, "mode": "fast"})
    'sample n=4 mode=fast'
    """
    return " ".join([name, *(f"{key}={yaml.inline(value)}" for key, value in arguments.items())])
