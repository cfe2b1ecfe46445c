"""The name of a job: the swept keys and their values, as a directory that a person can read and a shell can take."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

_LONGEST = 120  # bytes; file systems take 255, but a terminal line and a prefix of suffixes should fit too
_HASH_DIGITS = 6

_NAMED_SETTINGS = ("trainctl.seed", "trainctl.replay")

_PREFIX = re.compile(r"^(\+\+|\+|~)")
_ILLEGAL = re.compile(r"[^\w.,=+@%-]", re.ASCII)

_swept: ContextVar[frozenset[str] | None] = ContextVar("trainctl_swept_keys", default=None)


def job_name(overrides: Sequence[str], swept: Collection[str] | None = None, groups: Collection[str] = ()) -> str:
    """Return the name of a job: `Norm_new-Lr_0.1`.

    Only swept keys are named (all keys when nothing is swept, or it is not known what is). Group choices come first, then
    values, each by key, so the order on the command line does not matter; of our own settings only seed and replay count.
    Characters that are not letters, digits or one
    of `_.,=+@%-` are dropped; wherever something was dropped or cut, a short hash of the whole text follows, so two
    different sets of overrides never get one name.

    Args:
        overrides: the job's overrides as Hydra writes them: `norm=new`, `+lr=0.1`, `~opt`.
        swept: keys (without prefix) that differ between the jobs of the sweep.
        groups: keys that are config groups.

    >>> job_name(["lr=0.1", "norm=new", "epochs=3"], swept={"lr", "norm"}, groups={"norm"})
    'Norm_new-Lr_0.1'
    >>> job_name(["optim.weight_decay=1e-4"])
    'OptimWeightDecay_1e-4'
    """
    pairs = sorted((_split(text) for text in overrides), key=lambda pair: (pair[1] not in groups, pair[1]))
    pairs = [pair for pair in pairs if not pair[1].startswith("trainctl.") or pair[1] in _NAMED_SETTINGS]
    if swept and any(key in swept for _, key, _ in pairs):
        pairs = [pair for pair in pairs if pair[1] in swept]
    text = "-".join(_part(*pair) for pair in pairs) or "default"
    exact = "\n".join("=".join(pair) for pair in pairs)
    lossy = any(_is_lossy(key, value) for _, key, value in pairs)
    if lossy or len(text.encode()) > _LONGEST or text.startswith("."):
        digest = hashlib.sha256(exact.encode()).hexdigest()[:_HASH_DIGITS]
        text = f"{text[: _LONGEST - _HASH_DIGITS - 1].strip('.-')}-{digest}"
    return text


def override_key(text: str) -> str:
    """Return the key of an override without its prefix and package: `+db@src=x` -> `db@src`."""
    return _split(text)[1]


def swept_keys(job: Sequence[str], sweep: Sequence[str]) -> frozenset[str]:
    """Return the keys of a job's overrides that the sweep's own overrides do not give in just the same words.

    >>> sorted(swept_keys(["norm=new", "epochs=3"], ["norm=new,batch", "epochs=3"]))
    ['norm']
    """
    constant = set(sweep)
    return frozenset(override_key(text) for text in job if text not in constant)


@contextmanager
def naming_swept(keys: frozenset[str]) -> Iterator[None]:
    """Let the `trainctl_name` resolver know, inside the block, which keys are swept."""
    token = _swept.set(keys)
    try:
        yield
    finally:
        _swept.reset(token)


def current_swept() -> frozenset[str] | None:
    """Return the keys given by `naming_swept`; None when nobody knows."""
    return _swept.get()


def _split(override: str) -> tuple[str, str, str]:
    key, _, value = override.partition("=")
    prefix = _PREFIX.match(key)
    mark = prefix.group(0) if prefix else ""
    return mark, key[len(mark) :], value


def _part(mark: str, key: str, value: str) -> str:
    words = [word for word in re.split(r"[^0-9A-Za-z]+", key) if word]
    camel = "".join(word[0].upper() + word[1:] for word in words)
    if mark == "~":
        camel = "No" + camel
    value = _ILLEGAL.sub("", _unquoted(value))
    return f"{camel}_{value}" if value else camel


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value


def _is_lossy(key: str, value: str) -> bool:
    return bool(_ILLEGAL.search(_unquoted(value))) or not key.replace(".", "").replace("_", "").replace("/", "").isalnum()
