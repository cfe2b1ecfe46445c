"""The current config as plain objects: `live.now.optim.lr` is an attribute read and nothing else.

What follows the config by itself: `live.bind` sets it at once, after each edit, and after a resume.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from trainctl.config.assign import resolved
from trainctl.config.keys import split
from trainctl.errors import SettingError


class Now:
    """One mapping of the config, its values resolved. Keys are attributes; those that are not identifiers go by `[]`.

    It shows one moment: an edit makes a new one, so read `live.now` again at each step. A key whose value is missing or
    cannot be resolved is not there.
    """

    def __getitem__(self, key: Any) -> Any:
        return self.__dict__[key]

    def __contains__(self, key: object) -> bool:
        return key in self.__dict__

    def __iter__(self) -> Iterator[Any]:
        return iter(self.__dict__)

    def __len__(self) -> int:
        return len(self.__dict__)

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if isinstance(other, Now) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # mutable, as a dict is

    def __repr__(self) -> str:
        return f"Now({', '.join(f'{key}={value!r}' for key, value in self.__dict__.items())})"

    def __getattr__(self, key: str) -> Any:
        raise AttributeError(
            f"live.now has no {key!r} here, or it is missing or cannot be resolved; "
            f"keys are {', '.join(sorted(map(str, self)))}"
        )


class Watch(Protocol):
    """What notes who takes values of edited keys."""

    seen: set[str]  # the edited keys that were looked at while a value was read from the config

    def take(self, key: str) -> bool:
        """Note that somebody has taken the value of a key."""


_DICT: Callable[[Now], dict[Any, Any]] = vars(Now)["__dict__"].__get__  # the attribute itself is watched below


class UnreadNow(Now):
    """A mapping in which values hang on edited keys: each is noted when it is taken, and an ordinary one from then on.

    Until then it is not an attribute of the object, so Python asks `__getattr__` for it.
    """

    __slots__ = ("_trainctl_names", "_trainctl_unread", "_trainctl_watch")

    def __init__(self, values: dict[Any, Any], unread: dict[Any, frozenset[str]], watch: Watch) -> None:
        self._trainctl_watch, self._trainctl_names = watch, tuple(values)
        self._trainctl_unread = {name: (values[name], keys) for name, keys in unread.items()}
        _DICT(self).update({name: value for name, value in values.items() if name not in unread})

    def _trainctl_take(self, name: Any) -> None:
        found = self._trainctl_unread.pop(name, None)
        if found is not None:
            value, keys = found
            _DICT(self)[name] = value
            for key in keys:
                self._trainctl_watch.take(key)

    @property  # whoever asks for the whole takes all of it
    def __dict__(self) -> dict[Any, Any]:  # type: ignore[override]
        for name in list(self._trainctl_unread):
            self._trainctl_take(name)
        values = _DICT(self)
        if tuple(values) != self._trainctl_names:
            ordered = {name: values[name] for name in self._trainctl_names}
            values.clear()
            values.update(ordered)
        return values

    def __getattr__(self, key: str) -> Any:
        if key in self._trainctl_unread:
            self._trainctl_take(key)
            return _DICT(self)[key]
        return super().__getattr__(key)

    def __getitem__(self, key: Any) -> Any:
        self._trainctl_take(key)
        return _DICT(self)[key]

    def __contains__(self, key: object) -> bool:
        return key in _DICT(self) or key in self._trainctl_unread

    def __iter__(self) -> Iterator[Any]:
        return iter(self._trainctl_names)

    def __len__(self) -> int:
        return len(self._trainctl_names)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return Now, (), self.__dict__


def build(config: DictConfig, watch: Watch | None = None) -> Now:
    """Return the values that the config has now; its `hydra` node is left out. `watch` is told who takes edited ones.

    >>> from omegaconf import OmegaConf
    >>> build(OmegaConf.create({"optim": {"lr": 0.1}, "lr": "${optim.lr}", "weird-key": [1, {"a": 2}]}))
    Now(optim=Now(lr=0.1), lr=0.1, weird-key=[1, Now(a=2)])
    """
    return _build(config, watch, skip="hydra")


def _build(config: DictConfig, watch: Watch | None, skip: str | None = None) -> Now:
    values: dict[Any, Any] = {}
    unread: dict[Any, frozenset[str]] = {}
    for name in config:
        if name == skip:
            continue
        if watch is not None:
            watch.seen.clear()
        try:
            value = resolved(config, name)
        except OmegaConfBaseException:
            continue  # ??? or unresolvable here: it must not keep the rest from being read
        if watch is not None and watch.seen:
            unread[name] = frozenset(watch.seen)
        values[name] = _build(value, watch) if isinstance(value, DictConfig) else _plain(value)
    if unread and watch is not None:
        return UnreadNow(values, unread, watch)
    now = Now()
    now.__dict__.update(values)
    return now


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        now = Now()
        now.__dict__.update({key: _plain(inner) for key, inner in value.items()})
        return now
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


# Who binds the objects of a library, by the library's name. It is named here and imported only for an object of that
# library, so a run without PyTorch never loads a line about it; imports between rooms stay one way.
_BINDERS = {"torch": "trainctl.frameworks.torch"}


def bind(target: Any, path: tuple[str, ...], options: dict[str, Any], *, now: Now, log: Callable[..., object]) -> Any:
    """Return the binding of `target`: called with a new `live.now`, it sets what is bound to the values there.

    Args:
        target: what follows the config: an object of a known library, or any Python object.
        path: its attribute (dotted), and the key that this follows.
        options: what the library's binder takes.
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
        """Refuse values that the attribute cannot follow, before they are in effect.

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
        raise SettingError(f"live.bind(…, {key!r}): that is a mapping, and one value is bound; below it are {below}")
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
