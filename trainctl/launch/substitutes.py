"""What stands in for slow parts of OmegaConf while Hydra prepares a job in its process; never in the user's task.

Each gives the very same result (`nodecopy`, `parsetrees`, `yamltext`), and where that is not certain it calls what it
stands for.
"""

from __future__ import annotations

import gc
from typing import Any

import omegaconf.base
from omegaconf import DictConfig, ListConfig, OmegaConf

from trainctl.launch import nodecopy, parsetrees, yamltext

_OWN: tuple[tuple[Any, str, Any], ...] = (
    (DictConfig, "__deepcopy__", DictConfig.__dict__["__deepcopy__"]),
    (ListConfig, "__deepcopy__", ListConfig.__dict__["__deepcopy__"]),
    (OmegaConf, "to_yaml", OmegaConf.__dict__["to_yaml"]),
    (omegaconf.base, "parse", parsetrees.own_parse),
)
_OURS = (nodecopy.copy_dict, nodecopy.copy_list, staticmethod(yamltext.to_yaml), parsetrees.parse)


def install() -> None:
    """Put the substitutes in place, unless somebody else's are there, or OmegaConf is not the one we know."""
    if nodecopy.IS_KNOWN and all(owner.__dict__.get(name) is own for owner, name, own in _OWN):
        for (owner, name, _), ours in zip(_OWN, _OURS, strict=True):
            setattr(owner, name, ours)


def remove() -> None:
    """Put back what was there; what somebody else has put there meanwhile stays."""
    for (owner, name, own), ours in zip(_OWN, _OURS, strict=True):
        if owner.__dict__.get(name) is ours:
            setattr(owner, name, own)


class Preparation:
    """The time from a job's first breath to its task function: with the substitutes, and without garbage collection.

    What is made meanwhile stays until the process ends, as far as it is not freed by its last reference; a collection
    would only look at it, again and again.
    """

    def __init__(self) -> None:
        self._collects = gc.isenabled()
        self._is_over = False
        gc.disable()
        install()

    def end(self) -> None:
        """Leave everything to the task as it would be without us. A second call does nothing."""
        if self._is_over:
            return
        self._is_over = True
        remove()
        if self._collects:
            gc.freeze()
            gc.enable()
