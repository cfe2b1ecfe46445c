"""The current config as plain objects: `live.now.optim.lr` is an attribute read and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from trainctl.config.assign import resolved


class Now:
    """One mapping of the config, its values resolved. Keys are attributes; those that are no identifiers go by `[]`.

    It shows one moment: an edit makes a new one, so read `live.now` anew at each step. A key whose value is missing or
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
            f"keys are {', '.join(sorted(map(str, self.__dict__)))}"
        )


def build(config: DictConfig) -> Now:
    """Return the values that the config has now; its `hydra` node is left out.

    >>> from omegaconf import OmegaConf
    >>> build(OmegaConf.create({"optim": {"lr": 0.1}, "lr": "${optim.lr}", "weird-key": [1, {"a": 2}]}))
    Now(optim=Now(lr=0.1), lr=0.1, weird-key=[1, Now(a=2)])
    """
    now = _build(config)
    now.__dict__.pop("hydra", None)
    return now


def _build(config: DictConfig) -> Now:
    now = Now()
    for name in config:
        try:
            value = resolved(config, name)
            now.__dict__[name] = _build(value) if isinstance(value, DictConfig) else _plain(value)  # type: ignore[index]
        except OmegaConfBaseException:
            continue  # ??? or unresolvable here: it must not keep the rest from being read
    return now


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        now = Now()
        now.__dict__.update({key: _plain(inner) for key, inner in value.items()})
        return now
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
