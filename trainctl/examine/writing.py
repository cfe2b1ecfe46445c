"""A table as text: for people, for papers, and for other programs."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Collection
from typing import Any, Protocol

from rich.cells import cell_len

from trainctl.config import yaml
from trainctl.examine.cells import Cell
from trainctl.text import clean, padded

_MOST_CONSTANTS = 40
_BEGINS_FORMULA = "=@＝＠＋－"  # noqa: RUF001  # the wide ones too, where the system's language has them
# what Markdown takes for its own, wherever it stands; an underscore only does at the edge of a word
_MARKUP = re.compile(r"[\\|`*<~$]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[])|&(?=#?\w+;)")


class Written(Protocol):
    """What is written: see `Table`."""

    @property
    def columns(self) -> list[str]: ...
    @property
    def rows(self) -> list[list[Any]]: ...
    @property
    def keys(self) -> int: ...
    @property
    def constants(self) -> dict[str, Any]: ...


def spread(table: Written) -> tuple[list[str], list[list[Any]]]:
    """Return the table with mean, deviation and count of each `Cell` in columns of their own."""
    folded = [any(isinstance(row[at], Cell) for row in table.rows) for at in range(len(table.columns))]
    heads: list[str] = []
    for head, is_folded in zip(table.columns, folded, strict=True):
        for one in (head, f"{head} std", f"{head} count") if is_folded else (head,):
            heads.append(apart(one, heads, "column"))
    rows = []
    for row in table.rows:
        line: list[Any] = []
        for value, is_folded in zip(row, folded, strict=True):
            if isinstance(value, Cell):
                line += [value.mean, value.deviation, value.count]
            else:
                line += [value, None, 0] if is_folded else [value]
        rows.append(line)
    return heads, rows


def apart(head: str, taken: Collection[str], kind: str) -> str:
    """Return a column's head that no other column has.

    >>> apart("lr", ["run"], "metric"), apart("lr", ["lr"], "metric"), apart("lr", ["lr", "lr (metric)"], "metric")
    ('lr', 'lr (metric)', 'lr (metric 2)')
    """
    names = itertools.chain([head, f"{head} ({kind})"], (f"{head} ({kind} {at})" for at in itertools.count(2)))
    return next(name for name in names if name not in taken)


def to_csv(table: Written) -> str:
    """Write one column each for mean, deviation and count; values as text that CSV readers take back."""
    return "".join(",".join(map(_quoted, line)) + "\r\n" for line in _exact(table))


def to_tsv(table: Written) -> str:
    """Write columns apart by tabs, as spreadsheets paste them; a tab or line break within a value becomes a space."""
    return "".join(
        "\t".join(_quoted(cell if cell.isprintable() else " ".join(cell.split()), marks='"') for cell in line) + "\n"
        for line in _exact(table)
    )


def to_json(table: Written) -> str:
    """Write `{"constants": …, "rows": [{column: value}]}`; NaN and infinities, which JSON does not know, as text."""
    heads, rows = spread(table)
    content = {"constants": table.constants, "rows": [dict(zip(heads, row, strict=True)) for row in rows]}
    return json.dumps(_json(content), indent=2, default=str, ensure_ascii=False) + "\n"


def to_markdown(table: Written) -> str:
    """Write a table as GitHub reads it; below it what is the same in all runs."""
    heads, lines = _texts(table, "±")
    rule = ["---" if at < table.keys else "---:" for at in range(len(heads))]
    escaped = [[_markdown(cell) for cell in line] for line in (heads, *lines)]
    text = "".join(f"| {' | '.join(line)} |\n" for line in (escaped[0], rule, *escaped[1:]))
    same = constants_line(table)
    return f"{text}\n{_markdown(same)}\n" if same else text


def to_latex(table: Written) -> str:
    """Write a tabular in the style of booktabs; what is the same in all runs is a comment before it."""
    heads, lines = _texts(table, "$\\pm$")
    plain = [
        [cell if isinstance(value, Cell) else _tex(cell) for cell, value in zip(line, row, strict=True)]
        for line, row in zip(lines, table.rows, strict=True)
    ]
    # what begins with [ or * would be taken for an argument of the command that ended the line before
    body = ["{}" * line[0].startswith(("[", "*")) + " & ".join(line) + r" \\" for line in ([*map(_tex, heads)], *plain)]
    columns = "l" * table.keys + "r" * (len(heads) - table.keys)
    parts = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", body[0], r"\midrule", *body[1:], r"\bottomrule"]
    same = constants_line(table)
    return "\n".join([*([f"% {same}"] if same else []), *parts, r"\end{tabular}", ""])


def to_text(table: Written) -> str:
    """Write columns side by side; below them what is the same in all runs."""
    heads, lines = _texts(table, "±")
    widths = [max(cell_len(line[at]) for line in (heads, *lines)) for at in range(len(heads))]
    text = ""
    for line in (heads, *lines):
        pairs = enumerate(zip(line, widths, strict=True))
        text += "  ".join(padded(cell, width, is_right=at >= table.keys) for at, (cell, width) in pairs).rstrip() + "\n"
    same = constants_line(table)
    return f"{text}{same}\n" if same else text


FORMS: dict[str, Callable[[Written], str]] = {
    "csv": to_csv,
    "json": to_json,
    "latex": to_latex,
    "md": to_markdown,
    "text": to_text,
    "tsv": to_tsv,
}


def constants_line(table: Written) -> str:
    """Say on one line what is the same in all runs; empty when nothing is."""
    pairs = [f"{clean(key)}={_text(value, '±')}" for key, value in table.constants.items()]
    more = f", and {len(pairs) - _MOST_CONSTANTS} more" if len(pairs) > _MOST_CONSTANTS else ""
    return f"the same in all: {', '.join(pairs[:_MOST_CONSTANTS])}{more}" if pairs else ""


def _texts(table: Written, sign: str) -> tuple[list[str], list[list[str]]]:
    return [clean(head) for head in table.columns], [[_text(value, sign) for value in row] for row in table.rows]


def _text(value: Any, sign: str) -> str:
    if value is None:
        return ""
    if isinstance(value, Cell):
        return value.text(sign)
    if isinstance(value, float):
        return f"{value:.6g}"
    return clean(_exactly(value))


def _exact(table: Written) -> list[list[str]]:
    heads, rows = spread(table)
    return [heads, *([_exactly(value) for value in row] for row in rows)]


def _exactly(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if type(value) in (int, float):
        return repr(value)
    try:
        return yaml.inline(value)
    except Exception:  # noqa: BLE001  # whatever a parser has found: what YAML does not know is shown by its text
        return str(value)


def _quoted(text: str, *, marks: str = ',"\r\n') -> str:
    text = _safe(text)
    return '"' + text.replace('"', '""') + '"' if any(char in text for char in marks) else text


def _safe(text: str) -> str:
    """Put a quote mark before a cell that a spreadsheet would take for a formula, also after what it passes over."""
    first = text.lstrip().lstrip("\0")[:1]
    is_formula = first in _BEGINS_FORMULA or (first in ("+", "-") and not is_number(text))
    return f"'{text}" if first and is_formula else text


def is_number(text: str) -> bool:
    """Say whether a text is a number, in any of Python's ways to write one."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _markdown(text: str) -> str:
    return _MARKUP.sub(r"\\\g<0>", text)


def _tex(text: str) -> str:
    escapes = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    escapes |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    escapes |= {char: f"\\{char}" for char in "&%$#_{}"}
    return "".join(escapes.get(char, char) for char in text).replace("--", "-{}-")


def _json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _json(inner) for key, inner in value.items()}
    return [_json(inner) for inner in value] if isinstance(value, list | tuple) else value
