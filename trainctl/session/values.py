"""The current config as plain objects: `live.now.optim.lr` is an attribute read and nothing else.

An edit makes a new object, and listeners are notified in a fixed order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from trainctl.config.assign import resolved
from trainctl.config.changelog import Edit


class Now:
    """One mapping of the config, its values resolved. Keys are attributes; those that are not identifiers go by `[]`.

    It is a snapshot: an edit makes a new one, so read `live.now` at each step. Keys whose value is missing or cannot be
    resolved are left out.
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
    """Notes reads of edited keys."""

    seen: set[str]  # the edited keys that were looked at while a value was read from the config

    def take(self, key: str) -> bool:
        """Note a read of a key."""


_DICT: Callable[[Now], dict[Any, Any]] = vars(Now)["__dict__"].__get__  # the attribute itself is watched below


class UnreadNow(Now):
    """A mapping with values that depend on edited keys: the first read of each is noted.

    Until then such a value is not an attribute of the object, so Python calls `__getattr__` for it.
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

    @property  # reading the whole dict reads every value
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


class EditedValues(dict[str, Any]):
    """The values of an edit as a hook gets them; it notes which of them the hook reads."""

    def __init__(self, values: dict[str, Any], take: Callable[[str], bool]) -> None:
        super().__init__(values)
        self._take = take

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        self._take(key)
        return value

    def get(self, key: str, default: Any = None) -> Any:
        self._take(key)
        return super().get(key, default)

    def __iter__(self) -> Iterator[str]:  # without it dict(values) would not ask for each item
        return super().__iter__()

    def items(self) -> Any:
        return self._all().items()

    def values(self) -> Any:
        return self._all().values()

    def copy(self) -> dict[str, Any]:
        return self._all()

    def __eq__(self, other: object) -> bool:
        return self._all() == other

    __hash__ = None  # as a dict

    def __repr__(self) -> str:
        return repr(self._all())

    def __or__(self, other: Any) -> Any:
        return self._all() | other

    def __ror__(self, other: Any) -> Any:
        return other | self._all()

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self._all(),)

    def _all(self) -> dict[str, Any]:
        return {key: self[key] for key in self}


def build(config: DictConfig, watch: Watch | None = None) -> Now:
    """Return the current values of the config without its `hydra` node; `watch` notes reads of edited keys.

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


Hook = Callable[[Edit], object]


class Listeners:
    """Notifies of an edit in a fixed order: the other ranks, `live.now`, the bindings, the hooks of the task.

    Args:
        show: takes the new `live.now`.

    Attributes:
        tell: notifies the other ranks, before the task's own code runs here, which may wait for them.
        bindings, hooks: those of the task, in the order in which it added them.
    """

    def __init__(self, show: Callable[[Now], object]) -> None:
        self._show = show
        self.tell: Callable[[Edit], object] = lambda _: None
        self.bindings: list[Callable[[Now], object]] = []
        self.hooks: list[Hook] = []

    def hear(self, edit: Edit, told: Edit, now: Now) -> None:
        """Notify all of them; hooks are not called for a resume that has changed nothing.

        Args:
            edit: what has changed.
            told: the same edit for the hooks, with values that note which of them are read.
            now: the new values.
        """
        self.tell(edit)
        self._show(now)
        for apply in self.bindings:
            apply(now)
        for hook in self.hooks if edit.values else ():
            hook(told)
