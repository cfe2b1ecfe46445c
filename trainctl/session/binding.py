"""The bindings of `live.bind`: objects set from the config at once, after each edit, and after a resume."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from typing import Any

from trainctl.config.keys import split
from trainctl.errors import SettingError
from trainctl.session.values import Now

# Who binds the objects of a library, by the library's name. It is named here and imported only for an object of that
# library, so a run without PyTorch never loads a line about it; imports between rooms stay one way.
_BINDERS = {"torch": "trainctl.frameworks.torch"}


def bind(target: Any, path: tuple[str, ...], options: dict[str, Any], *, now: Now, log: Callable[..., object]) -> Any:
    """Return a binding of `target`: a callable that takes a new `live.now` and sets the target from its values.

    Args:
        target: the object to set: one of a known library, or any Python object.
        path: its attribute (dotted), and the key that this follows.
        options: options of the library's binder.
        now: the config's values now.
        log: `live.log`.

    Raises:
        SettingError: there is no such attribute, option, or key.
    """
    for kind in type(target).__mro__:
        binder = _BINDERS.get(kind.__module__.partition(".")[0])
        if binder is not None:
            return importlib.import_module(binder).bind(target, path, options, now=now, log=log)
    if options:
        kind = type(target)
        raise SettingError(
            f"live.bind(…, {next(iter(options))}=…): {kind.__module__}.{kind.__qualname__} has no options to bind; "
            'an attribute is bound by live.bind(object, "attribute", "key")'
        )
    return bind_attribute(target, path, now)


class AttributeBinding:
    """Keeps one attribute equal to one key."""

    def __init__(self, owner: Any, name: str, key: str) -> None:
        self._owner, self._name, self._key = owner, name, key

    def __call__(self, now: Now) -> None:
        setattr(self._owner, self._name, value_of(now, self._key))

    def check_values(self, now: Now) -> None:
        """Refuse values that the attribute cannot take, before they are in effect.

        Raises:
            SettingError: the key has none, or is a mapping.
        """
        value_of(now, self._key)


def bind_attribute(target: Any, path: tuple[str, ...], now: Now) -> AttributeBinding:
    """Return the binding of an attribute of any Python object.

    Raises:
        SettingError: there is no such attribute or key.
    """
    owner, name, key = place_of(target, path, now)
    return AttributeBinding(owner, name, key)


def place_of(target: Any, path: tuple[str, ...], now: Now) -> tuple[Any, str, str]:
    """Return the owner of a dotted attribute, its last name, and the key it follows; numbers index a sequence.

    Raises:
        SettingError: there is no such attribute or key.
    """
    if len(path) != 2 or not all(isinstance(part, str) for part in path):
        raise SettingError(
            f"live.bind({type(target).__name__}, {', '.join(map(repr, path))}) is not complete; "
            'an attribute is bound by live.bind(object, "attribute", "key")'
        )
    attribute, key = path
    value_of(now, key)
    *above, name = attribute.split(".")
    owner = target
    for part in above:
        owner = _member(owner, part, attribute)
    _member(owner, name, attribute)
    return owner, name, key


def value_of(now: Now, key: str) -> Any:
    """Return the value of a dotted key.

    Raises:
        SettingError: there is none, or it is a mapping.
    """
    value: Any = now
    for part in split(key):
        if not isinstance(value, Now) or part not in value:
            known = sorted(leaves(now))
            close = difflib.get_close_matches(key, known, n=3) or known[:20]
            raise SettingError(f"live.bind(…, {key!r}): the config has no value there; keys are {', '.join(close)}")
        value = value[part]
    if isinstance(value, Now):
        below = ", ".join(f"{key}.{name}" for name in sorted(map(str, value)))
        raise SettingError(
            f"live.bind(…, {key!r}): that is a mapping, and only a single value can be bound; below it are {below}"
        )
    return value


def leaves(now: Now, above: str = "") -> list[str]:
    """Return the dotted keys of all values."""
    found = []
    for name in now:
        value, key = now[name], f"{above}{name}"
        found += leaves(value, f"{key}.") if isinstance(value, Now) else [key]
    return found


def _member(owner: Any, name: str, attribute: str) -> Any:
    if name.isdigit() and isinstance(owner, list | tuple) and int(name) < len(owner):
        return owner[int(name)]
    try:
        return getattr(owner, name)
    except AttributeError as error:
        close = difflib.get_close_matches(name, [each for each in dir(owner) if not each.startswith("_")], n=3)
        hint = f"; close to it are {', '.join(close)}" if close else ""
        raise SettingError(f"live.bind(…, {attribute!r}): {type(owner).__name__} has no {name!r}{hint}") from error
