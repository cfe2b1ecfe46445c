"""How a value is written in an override on Hydra's command line."""

from __future__ import annotations

import re

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
