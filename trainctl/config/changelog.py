"""What a config was at step 0 and what changed at which step: a file for people, and the schedule of a replay."""

from __future__ import annotations

import copy
import re
import textwrap
import time
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, unquote

from trainctl.config import yaml
from trainctl.config._omegaconf import MISSING
from trainctl.config.keys import find, is_within, join, leaves, name_in, split
from trainctl.config.values import is_same
from trainctl.config.yaml import read_document
from trainctl.errors import ChangelogError

_HEADER = """\
# trainctl changelog: 0 is the config, each later step what changed. A step that trainctl writes ends with "#.";
# a last one without it was being written when the run was killed, and does not count.
"""
_HEADER_MARK = _HEADER[: _HEADER.index(":")]
_END = "#.\n"
_PARTS = re.compile(
    rb"^(?:(#\.)[ \t]*\r?\n|(0(?=:)|(?=.{38}#)\d+(?=:[ ]+#))|\d+:)", re.MULTILINE
)  # an end mark, a part that trainctl wrote, one that a person wrote
_CUT_OFF = re.compile(rb"\d+(?::[ ]*)?\Z")  # the beginning of a part that only trainctl writes
_COMMENT_COLUMN = 38
_MOST_COMMENT = 500
_STEP_LINE = re.compile(r"^(\d{1,19}):[ \t]+#(.*)$((?:\n  #.*$)*)", re.MULTILINE)  # and the lines of its parts
_PART_LINES = re.compile(r"  # (\S.*)\n  #   (\{.*\})")
_REQUEST = re.compile(r"(?:(.*) )?\[edit (\d{1,9})(?: undoes (\d{1,9}))?: ([^\s\[\]]+)\]")
_NOTHING = "-"  # in place of the comment of a part that has none
_ID_CHARACTERS = "@:+"  # in an id as they are, with letters, digits and `_.-~`; all others as in a URL
_MOST_STEPS = 2**63


@dataclass(frozen=True, slots=True)
class Edit:
    """The values that changed at the start of one step, by dotted key; all other fields are stored as comments.

    Attributes:
        id: of the request that asked for it; None if not recorded.
        number: its place in the order in which the edits of the run were applied, from 1; by it an edit is undone.
        undo: the number of the edit that it undid.
        parts: the edits that make up this one, in the order in which they were applied, where several requests took
            effect at one step; else empty.
    """

    step: int
    values: dict[str, Any]
    who: str | None = field(default=None, compare=False)
    via: str | None = field(default=None, compare=False)
    note: str | None = field(default=None, compare=False)
    at: float | None = field(default=None, compare=False)
    id: str | None = field(default=None, compare=False)
    number: int | None = field(default=None, compare=False)
    undo: int | None = field(default=None, compare=False)
    parts: tuple[Edit, ...] = field(default=(), compare=False)

    @property
    def each(self) -> tuple[Edit, ...]:
        """The edits of this step one by one."""
        return self.parts or (self,)

    @property
    def comment(self) -> str:
        """The comment beside the step: `21:03:18 panel root: calmer`."""
        clock = time.strftime("%H:%M:%S", time.localtime(self.at)) if self.at is not None else ""
        source = " ".join(word for word in (clock, self.via, self.who) if word)
        text = ": ".join(word for word in (source, self.note) if word)
        # a line break in a note would end the comment, and what follows would be read as YAML
        return " ".join("".join(char if char.isprintable() else " " for char in text).split())


@dataclass(frozen=True, slots=True)
class Changelog:
    """The record of one run: `base` at step 0, then the edits in order of their steps.

    `cut_off` is an incomplete part at the end of the file: an edit that was being recorded when the run was killed, and
    so never took effect.
    """

    base: dict[Any, Any]
    edits: list[Edit] = field(default_factory=list)
    cut_off: str | None = field(default=None, compare=False)

    @property
    def last_step(self) -> int:
        """The step of the last edit; 0 when there is none."""
        return max((edit.step for edit in self.edits), default=0)

    @property
    def requests(self) -> dict[str, Edit]:
        """The edit of each request, by its id; a request that is not in it has changed nothing."""
        return {part.id: part for edit in self.edits for part in edit.each if part.id is not None}

    def at(self, step: int) -> dict[Any, Any]:
        """Return the config as it is while `step` runs: the base with all edits up to and including that step.

        >>> Changelog({"lr": 1.0}, [Edit(5, {"lr": 0.1})]).at(5)
        {'lr': 0.1}
        """
        state, first = copy.deepcopy(self.base), leaves(self.base)
        for edit in self.edits:
            if edit.step <= step:
                for key, value in edit.values.items():
                    put(state, key, copy.deepcopy(value), first)
        return state


def put(container: dict[Any, Any], key: str, value: Any, base: Container[str] = ()) -> None:
    """Set a dotted key in nested plain mappings, making those that are not there.

    An entry that is not in `base`, the keys at step 0, is taken away by `???`.
    """
    *above, last = split(key)
    is_gone = type(value) is str and value == MISSING and key not in base
    for part in above:
        name = name_in(container, part)
        if not isinstance(container.get(name), dict):
            if is_gone:
                return
            container[name] = {}
        container = container[name]
    if is_gone:
        container.pop(name_in(container, last), None)
    else:
        container[name_in(container, last)] = value


def before_of(current: Mapping[Any, Any], values: Iterable[str]) -> dict[str, Any]:
    """Return the values that an edit of keys replaces, without missing keys; of keys in a null section, the section.

    >>> before_of({"a": None, "b": {"x": 1}}, ["a.p", "b.x", "b.new"])
    {'a': None, 'b.x': 1}
    """
    found: dict[str, Any] = {}
    for key in values:
        parts, below = split(key), current
        for number, part in enumerate(parts):
            try:
                value = below[find(below, part)]
            except KeyError:
                break
            if number == len(parts) - 1 or not isinstance(value, Mapping):
                found[join(parts[: number + 1])] = copy.deepcopy(value)
                break
            below = value
    return found


def together(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Combine two edits of one step; if one sets a section to null and the other keys in it, the later one counts.

    >>> together({"a.x": 1, "b": None}, {"a": None, "b.y": 2})
    {'a': None, 'b.y': 2}
    """
    if None not in before.values() and None not in after.values():
        return {**before, **after}
    kept = {
        key: value
        for key, value in before.items()
        if not any(is_within(key, [other]) or is_within(other, [key]) for other in after if other != key)
    }
    return {**kept, **after}


def merge(edits: Iterable[Edit]) -> list[Edit]:
    """Return one edit per step, in order of steps; of two values for one key at one step the later wins."""
    merged: dict[int, Edit] = {}
    for edit in edits:
        before = merged.get(edit.step)
        if before is None:
            merged[edit.step] = edit
        else:
            note = "; ".join(comment for comment in (before.comment, edit.comment) if comment)
            if len(before.comment) > _MOST_COMMENT:  # hundreds of requests at one step: the parts tell of each
                note = before.comment if before.comment.endswith("…") else f"{before.comment}; …"
            parts = (*before.each, *edit.each)
            if not any(part.id for part in parts):
                parts = ()
            merged[edit.step] = Edit(edit.step, together(before.values, edit.values), note=note or None, parts=parts)
    return [merged[step] for step in sorted(merged)]


def dumps(changelog: Changelog) -> str:
    """Write a changelog: the base, then per step the nested values that changed, with a comment beside the step."""
    return base_section(changelog.base) + "".join(section(edit, changelog.base) for edit in merge(changelog.edits))


def base_section(base: Mapping[Any, Any]) -> str:
    """Write the head of the file and the part of step 0.

    Raises:
        ChangelogError: a text has bytes that are not UTF-8, such as a file name given on the command line.
    """
    return _HEADER + _section("0:", base)


def section(edit: Edit, base: Mapping[Any, Any]) -> str:
    """Write the part of one step.

    A changelog is its parts in order, each with a mark at its end, so an edit is recorded by appending its part: the
    others need not be written again, and a reader tells a part that is half written from one that is whole.

    The comment beside the step ends with the request: `[edit 3: ID]`, `[edit 4 undoes 3: ID]`. Where several requests
    took effect at the step, the comment says how many, and two comment lines below tell of each: who, and what.
    """
    nested: dict[Any, Any] = {}
    for key, value in edit.values.items():
        _put_like(nested, key, value, base)
    head, comment = f"{edit.step}:", f"{len(edit.parts)} edits" if edit.parts else _with_request(edit)
    lines = [f"{head:<{_COMMENT_COLUMN}}# {comment}" if comment else head]
    for part in edit.parts:
        lines += [f"  # {_with_request(part) or _NOTHING}", f"  #   {yaml.one_line(part.values)}"]
    return _section("\n".join(lines), nested)


def _with_request(edit: Edit) -> str:
    """Return the comment of one edit, with its number and the id of its request at the end."""
    if edit.id is None or edit.number is None:
        return edit.comment
    undoes = "" if edit.undo is None else f" undoes {edit.undo}"
    request = f"[edit {edit.number}{undoes}: {quote(edit.id, safe=_ID_CHARACTERS, errors='replace')}]"
    return f"{edit.comment} {request}" if edit.comment else request


def _commented(edit: Edit, comment: str) -> Edit:
    """Return the edit with the data in its comment: number and request, and the rest as its note."""
    found = _REQUEST.fullmatch(comment)
    if found is None:
        return replace(edit, note=comment or None)
    note, number, undo, request = found.groups()
    return replace(edit, note=note, number=int(number), undo=None if undo is None else int(undo), id=unquote(request))


def _with_parts(edit: Edit, lines: str) -> Edit:
    """Return the edit of a step with its parts; without them if they do not add up to its values.

    That happens only if somebody has edited the file by hand.
    """
    parts: list[Edit] = []
    whole: dict[str, Any] = {}
    try:
        for comment, text in _PART_LINES.findall(lines):
            values = {str(key): value for key, value in read_document(text, ValueError).items()}
            parts.append(_commented(Edit(edit.step, values), "" if comment == _NOTHING else comment))
            whole = together(whole, values)
    except ValueError:
        return edit
    return merge(parts)[0] if parts and is_same(whole, edit.values) else edit


def loads(text: str | bytes, source: str = "the changelog") -> Changelog:
    """Read a changelog of trainctl or of trainconfig (which writes a change of a list as a mapping of its indices).

    In files with trainctl's header a last part without its end mark is left out (`cut_off`).

    Raises:
        ChangelogError: not UTF-8, not YAML, not a mapping of steps to mappings, no step 0, or a step given twice.
    """

    def error(reason: str) -> ChangelogError:
        return ChangelogError(f"{source} is not a changelog: {reason}")

    text, cut_off = _whole(text, error)
    content = read_document(text, error, aliases=True)
    if not isinstance(content, dict):
        raise error("it must be a mapping of steps, and step 0 must hold the full config")
    for step, changes in content.items():
        if type(step) is not int or not 0 <= step < _MOST_STEPS:
            raise error(f"{step!r:.60} is not a step; steps are whole numbers from 0")
        if not isinstance(changes, dict):
            raise error(f"step {step} must hold a mapping of keys to values, not {changes!r:.60}")
    if 0 not in content:
        raise error("it has no step 0, which must hold the full config")
    base = content.pop(0)
    comments = {int(step): (comment.strip(" \t"), parts) for step, comment, parts in _STEP_LINE.findall(text)}
    edits, state = [], copy.deepcopy(base)
    has_header = text.startswith(_HEADER_MARK)  # a list is written whole then: a mapping with numbers as keys is one
    for step in sorted(content):
        values = dict(_against(content[step], base, (), None if has_header else state))
        for key, value in values.items():
            put(state, key, value)
        if values:
            comment, parts = comments.get(step, ("", ""))
            edits.append(_with_parts(_commented(Edit(step, values), comment), parts))
    return Changelog(base, edits, cut_off)


def _whole(text: str | bytes, error: Callable[[str], ChangelogError]) -> tuple[str, str | None]:
    """Split a file into its complete parts and an incomplete end, which may be half a character, or zeros.

    A part that was added by hand needs no end mark.
    """
    data = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    end = len(data)
    if data.startswith(_HEADER_MARK.encode()):
        marked, begun = 0, None
        for part in _PARTS.finditer(data):
            if begun is not None and not part[1]:
                raise error(_lines_are_gone(data, begun))
            begun = part if part[2] else None
            marked = part.end() if part[1] else marked
        left = data[marked:].strip(b"\0\r\n")
        if begun is not None:
            if not marked:
                raise error(_lines_are_gone(data, begun))  # step 0, which is never appended
            end = begun.start()
        elif not left or _CUT_OFF.match(left):
            end = marked
    try:
        return data[:end].decode(), data[end:].decode(errors="replace").strip("\0\r\n") or None
    except UnicodeDecodeError as problem:
        raise error("it is not UTF-8 text") from problem


def _lines_are_gone(data: bytes, part: re.Match[bytes]) -> str:
    line = data.count(b"\n", 0, part.start()) + 1
    return (
        f"line {line}: step {part[2].decode()} has no end mark, so lines are missing there; bring them back, "
        'or write "#." below the step if it is whole'
    )


def _section(head: str, content: Mapping[Any, Any]) -> str:
    if not content:
        return f"{head.partition(':')[0]}: {{}}\n{_END}"
    lines = [head + "\n"]
    for key, value in content.items():
        flow = None if isinstance(value, dict | list) else False  # None: innermost collections on one line
        try:
            lines.append(textwrap.indent(yaml.dumps({key: value}, flow=flow), "  "))
        except UnicodeEncodeError as error:  # Python has such text from a command line, YAML has none
            raise ChangelogError(
                f"{key}: the text {error.object!r} cannot be recorded: it has bytes that are not UTF-8; "
                "give it in UTF-8"
            ) from None
    return "".join([*lines, _END])


def _put_like(nested: dict[Any, Any], key: str, value: Any, base: Any) -> None:
    """Set a dotted key, its parts named as the base names them (a key that is a number stays one)."""
    parts = split(key)
    for number, part in enumerate(parts):
        name: Any = part
        if isinstance(base, dict):
            name = name_in(base, part)
            base = base.get(name)
        if number == len(parts) - 1:
            nested[name] = value
        else:
            nested = nested.setdefault(name, {})


def _against(changes: Any, base: Any, above: tuple[object, ...], state: Any) -> Iterable[tuple[str, Any]]:
    """Flatten changes to the leaves of the base, which are replaced whole."""
    for name, value in changes.items():
        path = (*above, name)
        old = base.get(name)
        now = state.get(name) if isinstance(state, dict) else None
        if isinstance(old, dict) and old and isinstance(value, dict):
            yield from _against(value, old, path, now)
        else:
            yield join(path), _into(now, value)


def _into(old: Any, value: Any) -> Any:
    """Return a leaf's new value; a mapping of indices changes those elements of a list, as trainconfig writes it."""
    if not isinstance(old, list) or not isinstance(value, dict) or not value:
        return value
    if not all(type(index) is int and index >= 0 for index in value):
        return value
    merged = copy.deepcopy(old)
    for index in sorted(value):
        if index < len(merged):
            merged[index] = _into_element(merged[index], value[index])
        else:
            merged.append(value[index])
    return merged


def _into_element(old: Any, value: Any) -> Any:
    if isinstance(old, dict) and isinstance(value, dict):
        return {**old, **{key: _into_element(old.get(key), inner) for key, inner in value.items()}}
    return _into(old, value)
