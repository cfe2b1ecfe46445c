"""Keys as a tracker takes them: a character that it refuses is written as `:` + code in hexadecimal + `:`."""

from __future__ import annotations

import hashlib
import posixpath
import re

_REFUSED = re.compile(r"[^\w\-. /]", re.ASCII)
_ESCAPED = re.compile(r":([0-9a-f]{1,6}):")
_CUT = re.compile(r":_([0-9a-f]{16})\Z")
_NO_TEXT = re.compile("[\ud800-\udfff]")  # halves of letters, which UTF-8 does not have
_LONGEST = 250
_EMPTY = "::"


def to_mlflow(key: str) -> str:
    """Return the name of a metric, param or tag: letters, digits, `_-. /`, at most 250, and a valid path.

    A name that is too long ends in a hash; it cannot be turned back, and what it stands for is kept in a tag.

    >>> to_mlflow("optim.lr"), to_mlflow("acc@1"), to_mlflow("a:b"), to_mlflow("/x")
    ('optim.lr', 'acc:40:1', 'a:3a:b', ':2f:x')
    """
    name = _REFUSED.sub(_escape, key)
    if name in ("", ".") or posixpath.normpath(name) != name or name.startswith(("..", "/")) or name != name.strip():
        name = re.sub(r"[./ ]", _escape, name) or _EMPTY
    if len(name) > _LONGEST:
        name = f"{name[: _LONGEST - 18]}:_{hashlib.sha256(key.encode(errors='backslashreplace')).hexdigest()[:16]}"
    return name


def cut_mark(name: str) -> str | None:
    """Return the hash at the end of a name that was too long; None for one that can be turned back.

    >>> cut_mark(to_mlflow("x" * 300)), cut_mark("loss")
    ('0d4e2ca9e9cbced7', None)
    """
    match = _CUT.search(name)
    return match[1] if match else None


def to_wandb(key: str) -> str:
    r"""Return the name of a series: those that begin with `_` are W&B's own, and all must be text.

    >>> to_wandb("loss"), to_wandb("_step"), to_wandb(":5f:x"), to_wandb("a:3a:b"), to_wandb("\ud800")
    ('loss', ':5f:step', ':3a:5f:3a:x', 'a:3a:3a:3a:b', ':d800:')
    """
    if key and not key.startswith((":", "_")) and not _NO_TEXT.search(key) and not _ESCAPED.search(key):
        return key
    return re.sub(r"\A_|:|[\ud800-\udfff]", _escape, key) or _EMPTY


def to_tensorboard(key: str) -> str:
    r"""Return the tag of a series: any text that is one, but for the empty one.

    >>> to_tensorboard("val:loss"), to_tensorboard("\ud800"), to_tensorboard("a:3a:b"), to_tensorboard("")
    ('val:loss', ':d800:', 'a:3a:3a:3a:b', '::')
    """
    if key and key != _EMPTY and not _NO_TEXT.search(key) and not _ESCAPED.search(key):
        return key
    return re.sub(r":|[\ud800-\udfff]", _escape, key) or _EMPTY


def _escape(found: re.Match[str]) -> str:
    return f":{ord(found[0]):x}:"
