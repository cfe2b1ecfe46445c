"""What the configs of test_build.py build."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf


class Part:
    """Keeps what it was called with."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args = args
        self.kwargs = kwargs

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["kwargs"][name]
        except KeyError:
            raise AttributeError(name) from None


@dataclass
class Size:
    """A structured config."""

    width: int = 2
    depth: int = 3


@dataclass
class Point:
    """A dataclass as a target: it must arrive as it is, not as a config."""

    x: int = 0


def broken(**kwargs: Any) -> None:
    raise ValueError("no such optimizer")


def told(value: Any) -> Any:
    """Describe what was built, with the kinds of its containers, so that two of them can be compared."""
    if isinstance(value, Part):
        return ("Part", [told(each) for each in value.args], {key: told(each) for key, each in value.kwargs.items()})
    if isinstance(value, partial):
        return ("partial", value.func, told(list(value.args)), told(dict(value.keywords)))
    if isinstance(value, DictConfig | ListConfig):
        kind = OmegaConf.get_type(value)
        items = value.items() if isinstance(value, DictConfig) else enumerate(value)
        return (type(value).__name__, kind, [(key, told(each)) for key, each in items])
    if isinstance(value, dict):
        return ("dict", [(key, told(each)) for key, each in value.items()])
    if isinstance(value, list):
        return ("list", [told(each) for each in value])
    return (type(value).__name__, value)
