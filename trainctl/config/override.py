"""Overrides in Hydra's own words."""

from __future__ import annotations

import re
from typing import Any

from omegaconf import OmegaConf

_PLAIN_PATH = re.compile(r"[A-Za-z0-9_/.+-]+")


def quoted(path: str) -> str:
    r"""Write a path as a value of Hydra's override grammar, in quotes when it has characters that mean something there.

    >>> quoted("/runs/Norm_new"), quoted("/runs/lr=0.1,it's")
    ('/runs/Norm_new', "'/runs/lr=0.1,it\\'s'")
    """
    if _PLAIN_PATH.fullmatch(path):
        return path
    path = path.replace("${", "\\${")  # else OmegaConf looks for a key of that name
    # in Hydra's grammar a backslash is only special in front of a quote
    return "'" + re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), path) + "'"


def task_overrides(hydra: Any) -> list[str]:
    """Return the overrides of the task from a config's `hydra` node, in the very words: `lr=${a}` is not resolved."""
    texts: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    return [str(text) for text in texts]
