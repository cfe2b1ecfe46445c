"""Parsing the edits of a request, and checking them against types and controls of their keys; all or none are valid."""

from __future__ import annotations

import base64
import difflib
import math
import re
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any

from trainctl.config import yaml
from trainctl.config._omegaconf import MISSING
from trainctl.config.controls import FIXED, Key
from trainctl.config.editable import EditableKeys
from trainctl.config.keys import is_within, join
from trainctl.config.relative import check_jump, resolve
from trainctl.config.values import is_number, is_same
from trainctl.config.yaml import MAX_DEPTH, read_document
from trainctl.errors import EditError

MAX_LENGTH = 64 * 1024
_MOST_DIGITS = 308  # the range of floats: tables, plots and trackers read numbers as floats
_TOO_LARGE = 10**_MOST_DIGITS

_INT = re.compile(r"[-+]?[0-9]+(?:_[0-9]+)*")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+(?:_[0-9]+)*\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.?(?:nan|inf|infinity)", re.IGNORECASE)
QUOTED_NULL = ("'null'", '"null"')  # the text, and not null
_BINARY = "!!binary"
_PLUS = re.compile(r"\+{0,2}")
_TAKES = {
    "bool": "true or false", "int": "a whole number", "float": "a number", "str": "text", "bytes": "bytes",
    "list": "a list such as [1, 2]", "dict": "a mapping such as {a: 1}", "any": "a value",
}  # fmt: skip

_NAMES: dict[type, str] = {
    bool: "a bool", int: "an int", float: "a float", str: "text", bytes: "bytes", list: "a list", dict: "a mapping",
}  # fmt: skip


def parse_edits(edits: Mapping[Any, Any], keys: Mapping[str, Key]) -> dict[str, Any]:
    """Check all edits of one request; nested mappings are flattened to dotted keys, the first error wins.

    A key that begins with `+` is a new entry of a mapping, with `++` a new one or one that is there, as in Hydra.

    Raises:
        EditError: one of the edits is refused, so all are.

    >>> parse_edits({"optim": {"lr": "1e-4"}, "n": 2}, {"optim.lr": Key("float"), "n": Key("int")})
    {'optim.lr': 0.0001, 'n': 2}
    """
    parsed: dict[str, Any] = {}
    for written, given in edits.items():
        name = str(written)
        plus = "" if name in keys else _PLUS.match(name)[0]  # type: ignore[index]  # it matches the empty text
        for key, raw in _flatten({name[len(plus) :]: given}, "", keys, 0):
            if any(is_within(key, [other]) or is_within(other, [key]) for other in parsed):
                raise EditError(f"{_asked(key, raw)}: the key is given twice in one request")
            parsed[key] = parse_edit(key, raw, keys, plus="++" if plus and key != name[len(plus) :] else plus)
    if not parsed:
        raise EditError("the request has no edits; give at least one key=value")
    return parsed


def parse_edit(key: str, raw: Any, keys: Mapping[str, Key], *, plus: str = "") -> Any:
    """Return the value that an edit gives to a key.

    Args:
        key: a dotted key.
        raw: text, which is read by the key's type, or a value that has a type already and must fit the key's.
        keys: all keys of the config.
        plus: `+` where the key is to be a new one, `++` where it may be.

    Raises:
        EditError: unknown or locked key, wrong type, not finite, out of bounds, not a choice, interpolation, too long.
    """
    spec = check_editable(key, raw, keys, plus=plus)
    try:
        _check_size(raw)
        value = _from_text(raw, spec) if isinstance(raw, str) else raw
        return _check_control(fit(value, spec), spec)
    except _Refused as refused:
        raise EditError(f"{_asked(key, raw)}: {refused}") from refused


def parse_change(key: str, change: Mapping[str, Any], current: Callable[[], Any], keys: Mapping[str, Key]) -> Any:
    """Return the value that a relative edit (`{"op": "*", "by": "0.5"}`) gives to a key.

    Raises:
        EditError: as `parse_edit`; or the result is not a value of the key.
    """
    spec = check_editable(key, change["by"], keys)
    return parse_edit(key, resolve(key, change, current(), spec), keys)


def check_editable(key: str, raw: Any, keys: Mapping[str, Key], *, plus: str = "") -> Key:
    """Return the `Key` of an editable key; `raw` is the requested value, for the error.

    Raises:
        EditError: the key is unknown, is locked, or takes effect only when a run starts; or it is there and is to be
            a new one.
    """
    spec = keys.get(key)
    if plus == "+" and spec is not None:
        raise EditError(f"+{_asked(key, raw)}: the key is there already; leave out the +, nothing was changed")
    if plus and spec is None:
        spec = _addable(key, keys)
    if spec is None or (isinstance(keys, EditableKeys) and not plus and not keys.is_there(key)):
        raise EditError(_unknown(key, raw, keys, plus))
    return check_open(key, raw, spec)


def check_open(key: str, raw: Any, spec: Key) -> Key:
    """Return the `Key` of a key that is not locked.

    Raises:
        EditError: the key is locked, or takes effect only when a run starts.
    """
    if spec.locked is not None:
        raise EditError(f"{_asked(key, raw)}: the key is locked ({spec.locked}); nothing was changed")
    if spec.when == "restart":
        raise EditError(
            f"{_asked(key, raw)}: the key takes effect only when a run starts (when: restart); nothing was changed, "
            "start a new run with it"
        )
    return spec


def check_inside(key: str, old: Any, new: Any, spec: Key, *, force: bool) -> None:
    """Refuse a new value that the control of its key forbids; the key may be inside a list that an edit replaces.

    Raises:
        EditError: it is locked, out of bounds or not a choice; or it changes by too much without `force`.
    """
    check_open(key, new, spec)
    try:
        _check_control(new, spec)
    except _Refused as refused:
        raise EditError(f"{_asked(key, new)}: {refused}") from refused
    if not force:
        check_jump(key, old, new, spec)


def check_recorded(
    key: str, value: Any, keys: Mapping[str, Key], base: Mapping[str, Any] | None = None, *, may_add: bool = True
) -> Any:
    """Return a recorded value that is to be applied again: its key must exist and its type fit.

    Locks and bounds are for people who edit now, so they do not keep a recorded edit from being repeated. A value that
    the run started with (`base`, by dotted keys) always fits: it may be a reference to another key, which an undo
    brings back. So may what stands in a list of that kind, whose other items an edit leaves as they are.

    Raises:
        EditError: the key is not there (any more), or takes another type.
    """
    spec = keys.get(key) or (_addable(key, keys) if may_add and key not in (base or ()) else None)
    if base is not None and is_same(value, base.get(key, MISSING)):
        return value  # an added entry that is taken away, or what was there at the start
    if spec is None:
        raise EditError(_unknown(key, value, keys))
    try:
        return fit(value, spec, own=_texts(base.get(key)) if base is not None else ())
    except _Refused as refused:
        raise EditError(f"{_asked(key, value)}: {refused}") from refused


class _Refused(ValueError):
    """Why a value is refused; the caller adds the key."""


def fit(value: Any, spec: Key, own: Container[str] = ()) -> Any:
    """Return a value that fits a key's type: ints widen to float, a bool is never a number, text is always text.

    A text in `own` may be a reference: the config had it at the start.
    """
    _check_content(value, own)
    if value is None:
        if _takes_null(spec):
            return None
        raise _Refused(f"the key takes {_TAKES[spec.type]} and cannot be null")
    if spec.type == "float" and type(value) is int:
        try:
            return float(value)
        except OverflowError as error:
            raise _Refused("the number is too large for a float") from error
    expected = _TYPES.get(spec.type)
    if expected is not None and type(value) is not expected:
        raise _Refused(f"the key takes {_TAKES[spec.type]} ({spec.type}), and this is {_type_name(value)}")
    return value


_TYPES = {"bool": bool, "int": int, "float": float, "str": str, "bytes": bytes, "list": list, "dict": dict}


def _takes_null(spec: Key) -> bool:
    return spec.optional or spec.type == "any" or not spec.declared


def _addable(key: str, keys: Mapping[str, Key]) -> Key | None:
    return keys.addable(key) if isinstance(keys, EditableKeys) else None


def _texts(value: Any) -> set[str]:
    return {item for item in _inside(value) if isinstance(item, str)} if isinstance(value, list | dict) else set()


def _from_text(text: str, spec: Key) -> Any:
    if text.strip() == "null" and _takes_null(spec):
        return None
    return _READERS[spec.type](text)


def _read_text(text: str) -> str:
    return text[1:-1] if text in QUOTED_NULL else text


def _read_bytes(text: str) -> bytes:
    """Read bytes as YAML writes them (`!!binary YWI=`); any other text is encoded as UTF-8."""
    if not text.startswith(_BINARY):
        return text.encode(errors="surrogatepass")
    try:
        return base64.b64decode(text[len(_BINARY) :].strip(' "'), validate=True)
    except ValueError as error:
        raise _Refused("after !!binary the key takes base64") from error


def _read_bool(text: str) -> bool:
    word = text.strip().lower()
    if word not in ("true", "false"):
        raise _Refused("the key takes true or false (bool)")
    return word == "true"


def _read_int(text: str) -> int:
    text = text.strip()
    if not _INT.fullmatch(text) or len(text) > _MOST_DIGITS:
        raise _Refused("the key takes a whole number (int)")
    return int(text)


def _read_float(text: str) -> float:
    text = text.strip()
    if _NOT_FINITE.fullmatch(text):
        raise _Refused("the key takes a finite number (float)")
    if not _FLOAT.fullmatch(text):
        raise _Refused("the key takes a number (float)")
    value = float(text)
    if not math.isfinite(value):
        raise _Refused("the number is too large; the key takes a finite number (float)")
    return value


def _read_yaml(text: str) -> Any:
    return read_document(text, _Refused)


_READERS: dict[str, Callable[[str], Any]] = {
    "bool": _read_bool, "int": _read_int, "float": _read_float, "str": _read_text, "bytes": _read_bytes,
    "list": _read_yaml, "dict": _read_yaml, "any": _read_yaml,
}  # fmt: skip


def _check_size(raw: Any) -> None:
    """Refuse a value that is too long, looking at no more of it than allowed: aliases make short texts endless."""
    left = MAX_LENGTH
    for value in _inside(raw):
        left -= len(value) + 1 if isinstance(value, str | bytes) else 1
        if left < 0:
            length = f" of {len(raw)} characters" if isinstance(raw, str) else ""
            raise _Refused(f"the value{length} is too long; at most {MAX_LENGTH} characters are allowed")


def _check_content(value: Any, own: Container[str] = ()) -> None:
    for item in _inside(value):
        if isinstance(item, dict) and None in item:
            raise _Refused("a mapping cannot have null as a key")
        if isinstance(item, float) and not math.isfinite(item):
            raise _Refused("numbers must be finite; nan and inf are not allowed")
        if isinstance(item, int) and abs(item) >= _TOO_LARGE:
            raise _Refused(f"a whole number may have {_MOST_DIGITS} digits at most")
        if isinstance(item, str):
            if item not in own:
                _check_text(item)
        elif item is not None and not isinstance(item, bool | int | float | bytes | list | dict):
            raise _Refused(f"a value of type {type(item).__name__} is not allowed in a config")


def _check_text(text: str) -> None:
    if "${" in text:
        raise _Refused("interpolations (${...}) are not accepted from outside; give the value itself")
    if text == "???":
        raise _Refused("??? means a missing value and cannot be set")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _Refused("the text is not valid Unicode") from error


def _inside(value: Any) -> Iterator[Any]:
    """Yield a value and everything in it, including keys."""
    stack = [value]
    while stack:
        item = stack.pop()
        yield item
        if isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, dict):
            stack.extend(item)
            stack.extend(item.values())


def _check_control(value: Any, spec: Key) -> Any:
    if value is None:
        return value
    if spec.choices is not None and not any(type(value) is type(one) and value == one for one in spec.choices):
        raise _Refused(f"allowed are {', '.join(yaml.inline(choice) for choice in spec.choices)}")
    if is_number(value):
        if spec.min is not None and value < spec.min:
            raise _Refused(f"the minimum is {spec.min!r}")
        if spec.max is not None and value > spec.max:
            raise _Refused(f"the maximum is {spec.max!r}")
    return value


def _flatten(edits: Mapping[Any, Any], prefix: str, keys: Mapping[str, Key], depth: int) -> Iterator[tuple[str, Any]]:
    for part, raw in edits.items():
        dotted = f"{prefix}{part}"
        key = dotted
        for name in (dotted, f"{prefix}{join([part])}"):  # in a nested form a key with a dot may be written plainly
            if name in keys or any(known.startswith(f"{name}.") for known in keys):
                key = name
                break
        if key not in keys and isinstance(raw, str) and _is_section(key, keys):
            raw = _read_section(key, raw)
        if key not in keys and isinstance(raw, Mapping) and raw and depth < MAX_DEPTH and not _is_whole(key, keys):
            yield from _flatten(raw, f"{key}.", keys, depth + 1)
        else:
            yield key, raw


def _is_section(key: str, keys: Mapping[str, Key]) -> bool:
    """Whether a key has others below it: a section, or a mapping in a list or in an entry that was added."""
    spec = keys.get(key)
    return spec is not None and spec.type == "dict"


def _is_whole(key: str, keys: Mapping[str, Key]) -> bool:
    """Whether a mapping replaces the value of a key as a whole, because there are no entries to merge it into."""
    return isinstance(keys, EditableKeys) and keys.get(key) is not None and not keys.has_entries(key)


def _read_section(key: str, text: str) -> Any:
    try:
        _check_size(text)
        return _read_yaml(text)
    except _Refused as refused:
        raise EditError(f"{_asked(key, text)}: {refused}") from refused


def _unknown(key: str, raw: Any, keys: Mapping[str, Key], plus: str = "") -> str:
    if key.startswith("trainctl."):
        return f"{_asked(key, raw)}: {FIXED}; nothing was changed"
    own = sorted(name for name in keys if not name.startswith("trainctl."))
    close = [name for name in own if name.startswith(f"{key}.")][:3] or difflib.get_close_matches(key, own, n=3)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    known = f"; known keys are {', '.join(own)}" if len(own) <= 20 else ""
    if not plus and _addable(key, keys) is not None:
        known += f"; a new entry is written with a plus: +{_cut(key, 200)}"
    return f"{plus}{_asked(key, raw)}: there is no such key{hint}{known}"


def _asked(key: str, raw: Any) -> str:
    """Write the requested edit on one short line."""
    short = _cut(key, 200)
    if isinstance(raw, Mapping):
        return f"{short}={{…}}" if raw else f"{short}={{}}"
    return f"{short}={_cut(raw if isinstance(raw, str) else repr(raw) if _is_small(raw) else type(raw).__name__, 60)}"


def _is_small(raw: Any) -> bool:
    return not isinstance(raw, list) or all(count < 1000 for count, _ in enumerate(_inside(raw)))


def _cut(text: str, most: int) -> str:
    line = "".join(char if char.isprintable() else " " for char in text[: most + 1])
    return line if len(line) <= most else line[:most] + "…"


def _type_name(value: Any) -> str:
    return _NAMES.get(type(value), f"of type {type(value).__name__}")
