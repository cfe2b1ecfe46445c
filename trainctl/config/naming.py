"""The name of a job: the swept keys and their values, readable and safe for a shell."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from trainctl.config.identity import OWN_KEYS_THAT_COUNT
from trainctl.config.keys import is_within
from trainctl.config.masking import is_secret
from trainctl.config.overrides import parts_of

_LONGEST = 120  # bytes; file systems take 255, but a terminal line and a prefix of suffixes should fit too
_HASH_DIGITS = 8  # with 10,000 jobs in a sweep a collision is still unlikely

_ILLEGAL = re.compile(r"[^\w.,=+@%-]", re.ASCII)

# Keys that can be told from their CamelCase form, and values that stand in a name as they are: lower case, since some
# file systems ignore case; no `-word_`, which begins the next part; nothing that looks like the hash.
_PLAIN_KEY = re.compile(r"[a-z][a-z0-9]*([._/-][a-z][a-z0-9]*)*")
_PLAIN_VALUE = re.compile(r"(?!.*-[a-z][a-z0-9]*_)(?!.*-[0-9a-f]{8}$)[a-z0-9_.,=+@%-]+")
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?e[+-]?\d{1,3}", re.IGNORECASE)  # YAML 1.1 takes `1e-3` for text

_swept: ContextVar[frozenset[str] | None] = ContextVar("trainctl_swept_keys", default=None)


def job_name(overrides: Sequence[str], swept: Collection[str] | None = None, groups: Collection[str] = ()) -> str:
    """Return the name of a job: `Norm_new-Lr_0.1`.

    Only swept keys are named (all keys when nothing is swept, or it is not known what is). Group choices come first,
    then values, each by key, so the order on the command line does not matter; of trainctl's own settings only those
    that change what a job computes are named. Characters that are not letters, digits or one of `_.,=+@%-` are dropped
    (`/` becomes `_`; of a replayed path only the run's name is shown). Wherever something was dropped or cut, and
    wherever another name could differ from this one in the case of letters only, a short hash of the whole text
    follows. So two sets of overrides have different names, on a file system that ignores case too, unless they differ
    in nothing but the separators of a key (`optim.lr`, `optim_lr`), in the quotes around a number such as `'1e-3'`, or
    in `+`, `++`, which say how to override and not what. `True` is `true`, and `1E-3` is `1e-3`: Hydra reads both as
    the same, and its own sweeper writes the one for the other. A value that looks like a secret is only in the hash.

    Args:
        overrides: the job's overrides as Hydra writes them: `norm=new`, `+lr=0.1`, `~opt`.
        swept: keys (without prefix) that differ between the jobs of the sweep.
        groups: keys that are config groups.

    >>> job_name(["lr=0.1", "norm=new", "epochs=3"], swept={"lr", "norm"}, groups={"norm"})
    'Norm_new-Lr_0.1'
    >>> job_name(["optim.weight_decay=1e-4"])
    'OptimWeightDecay_1e-4'
    >>> job_name(["lr='1e-3'"])
    'Lr_1e-3'
    >>> job_name(["early-stop=True"])
    'EarlyStop_true'
    >>> job_name(["api.token=abc"])
    'ApiToken-8f5814fc'
    >>> job_name(["act=ReLU"])
    'Act_ReLU-0ac25e40'
    """
    return name_of_parts(map(parts_of, overrides), swept, groups)


def name_of_parts(
    parts: Iterable[tuple[bool, str, str]], swept: Collection[str] | None = None, groups: Collection[str] = ()
) -> str:
    """Return the name of a job from the parts of its overrides, as `parts_of` returns them."""
    read = ((is_removal, key, _number_or(value)) for is_removal, key, value in parts)
    pairs = sorted(read, key=lambda pair: (pair[1] not in groups, pair[1]))
    pairs = [pair for pair in pairs if not pair[1].startswith("trainctl.") or is_within(pair[1], OWN_KEYS_THAT_COUNT)]
    if swept and any(key in swept for _, key, _ in pairs):
        pairs = [pair for pair in pairs if pair[1] in swept]
    shown = [(is_removal, key, "" if is_secret(key, _unquoted(value)) else value) for is_removal, key, value in pairs]
    text = "-".join(filter(None, (_part(*pair) for pair in shown))) or "default"
    if len(text) <= _LONGEST and all(_is_plain(*pair) for pair in shown):
        return text
    digest = hashlib.sha256(json.dumps(pairs).encode()).hexdigest()[:_HASH_DIGITS]
    return f"{text[: _LONGEST - _HASH_DIGITS - 1].rstrip('.-')}-{digest}"


@contextmanager
def naming_swept(keys: frozenset[str]) -> Iterator[None]:
    """Tell the `trainctl_name` resolver inside the block which keys are swept."""
    token = _swept.set(keys)
    try:
        yield
    finally:
        _swept.reset(token)


def current_swept() -> frozenset[str] | None:
    """Return the keys given by `naming_swept`; None outside such a block."""
    return _swept.get()


def _part(is_removal: bool, key: str, value: str) -> str:
    words = [word for word in re.split(r"[^0-9A-Za-z]+", key) if word]
    camel = "".join(word[0].upper() + word[1:] for word in words)
    if is_removal:
        camel = "No" + camel
    value = _unquoted(value)
    if key == "trainctl.replay":
        value = value.removesuffix("/changelog.yaml").rstrip("/").rpartition("/")[2]
    value = _ILLEGAL.sub("", value.strip("/").replace("/", "_"))
    return f"{camel}_{value}" if value else camel


def _number_or(value: str) -> str:
    """Return a number with an exponent in its usual form, any other value unchanged."""
    number = _unquoted(value)
    return number.lower() if _NUMBER.fullmatch(number) else value


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value


def _is_plain(is_removal: bool, key: str, value: str) -> bool:
    return not is_removal and bool(_PLAIN_KEY.fullmatch(key) and _PLAIN_VALUE.fullmatch(value))
