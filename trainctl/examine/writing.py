"""A table as text for programs and people, and as a plot; matplotlib is imported here only."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from trainctl.config.values import is_number
from trainctl.errors import SettingError
from trainctl.examine.columns import constants_line, exact, mean_text, plain, short
from trainctl.examine.frame import values_of
from trainctl.rundir import files
from trainctl.text import clean

_BEGINS_FORMULA = "=@＝＠＋－"  # noqa: RUF001  # the wide ones too, where the system's language has them
# what Markdown takes for its own, wherever it stands; an underscore only does at the edge of a word
_MARKUP = re.compile(r"[\\|`*<~$]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[])|&(?=#?\w+;)")


def write(table: pd.DataFrame, form: str) -> str:
    """Write a table of `Examiner.table` as `csv`, `tsv`, `json`, `latex` or `md`.

    csv, tsv and json: numbers with all their digits; mean, deviation and count in columns of their own.
    latex and md: `mean ± deviation`, in the digits that the deviation leaves meaningful.
    A missing value is empty (`null` in json). NaN and infinities are written `nan`, `inf`, `-inf`; in json they are
    strings, because JSON has no such numbers.

    Raises:
        SettingError: the format is none of these.
    """
    if form not in FORMS:
        raise SettingError(f"there is no format {form!r}; allowed are {', '.join(sorted(FORMS))}")
    return files.encoded(FORMS[form](table)).decode()  # a file's name may be no Unicode


def to_csv(table: pd.DataFrame) -> str:
    """Write a table as CSV readers and spreadsheets take it: no cell is a formula."""
    return _separated(table, ",", "\r\n", str)


def to_tsv(table: pd.DataFrame) -> str:
    """Write columns separated by tabs; a tab or line break within a value becomes a space."""
    return _separated(table, "\t", "\n", lambda cell: cell if cell.isprintable() else " ".join(cell.split()))


def to_json(table: pd.DataFrame) -> str:
    """Write `{"constants": …, "rows": [{column: value}]}`."""
    columns = values_of(table)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    content = {"constants": constants_of(table), "rows": rows}
    return json.dumps(_json(content), indent=2, default=str, ensure_ascii=False) + "\n"


def to_markdown(table: pd.DataFrame) -> str:
    """Write a table as GitHub reads it; below it the parameters that are the same in all runs."""
    columns = shown(table)
    rule = ["---" if head in keys_of(table) else "---:" for head in columns]
    lines = [[clean(head) for head in columns], *zip(*columns.values(), strict=True)]
    escaped = [[_markdown(cell) for cell in line] for line in lines]
    text = "".join(f"| {' | '.join(line)} |\n" for line in (escaped[0], rule, *escaped[1:]))
    same = constants_line(constants_of(table))
    return f"{text}\n{_markdown(same)}\n" if same else text


def to_latex(table: pd.DataFrame) -> str:
    """Write a tabular for the package booktabs, after a comment with the parameters that are the same in all runs."""
    columns = shown(table, "$\\pm$", escape=_tex)
    sides = "".join("l" if head in keys_of(table) else "r" for head in columns)
    lines = [[_tex(clean(head)) for head in columns], *zip(*columns.values(), strict=True)]
    # a row that begins with [ or * would be an argument of the command that ended the row before
    body = ["{}" * line[0].startswith(("[", "*")) + " & ".join(line) + r" \\" for line in lines]
    same = constants_line(constants_of(table))
    parts = [rf"\begin{{tabular}}{{{sides}}}", r"\toprule", body[0], r"\midrule", *body[1:], r"\bottomrule"]
    return "\n".join([*([f"% {same}"] if same else []), *parts, r"\end{tabular}", ""])


FORMS: dict[str, Callable[[pd.DataFrame], str]] = {
    "csv": to_csv,
    "json": to_json,
    "latex": to_latex,
    "md": to_markdown,
    "tsv": to_tsv,
}


def shown(table: pd.DataFrame, sign: str = "±", *, escape: Callable[[str], str] = str) -> dict[str, list[str]]:
    """Return the columns for people, the index first; a mean, its deviation and its count are one column.

    `sign` stands between a mean and its deviation; `escape` is applied to all other cells.
    """
    columns, keys = values_of(table), keys_of(table)
    means = [head for head in table.attrs.get("means", ()) if {head, f"{head} std", f"{head} count"} <= columns.keys()]
    deviations = {head: columns.pop(f"{head} std") for head in means if columns.pop(f"{head} count") is not None}
    return {
        head: [mean_text(*pair, sign) for pair in zip(values, deviations[head], strict=True)]
        if head in deviations
        else [escape((plain if head in keys else short)(value)) for value in values]
        for head, values in columns.items()
    }


def keys_of(table: pd.DataFrame) -> list[str]:
    """Return the columns that say which row it is; the others say what came out."""
    return list(table.attrs.get("keys", table.index.names))


def constants_of(table: pd.DataFrame) -> dict[str, Any]:
    """Return the parameters that are the same in all runs."""
    return dict(table.attrs.get("constants", {}))


def _separated(table: pd.DataFrame, mark: str, end: str, text: Callable[[str], str]) -> str:
    columns = {head: [_safe(text(exact(one))) for one in values] for head, values in values_of(table).items()}
    texts = pd.DataFrame({at: pd.Series(cells, dtype=object) for at, cells in enumerate(columns.values())})
    return str(texts.to_csv(index=False, header=[_safe(text(head)) for head in columns], sep=mark, lineterminator=end))


def _safe(text: str) -> str:
    """Put a quote mark before a cell that a spreadsheet would take for a formula, also after what it passes over."""
    first = text.lstrip().lstrip("\0")[:1]
    is_formula = first in _BEGINS_FORMULA or (first in ("+", "-") and not is_numeral(text))
    return f"'{text}" if first and is_formula else text


def is_numeral(text: str) -> bool:
    """Whether a text is a number, in any of Python's ways to write one."""
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


_MOST_TICKS = 40


def plot(table: pd.DataFrame, path: Path) -> None:
    """Draw each column of numbers by row: over the first parameter if that is a number, else row by row.

    Raises:
        SettingError: matplotlib is not installed, there is no number to draw, or the format is unknown.
    """
    try:
        from matplotlib.figure import Figure  # without pyplot: no window, no state
    except ImportError as error:
        raise SettingError("a plot needs matplotlib: pip install 'hydra-trainctl[plot]'") from error
    if not path.suffix:
        raise SettingError(
            f"{str(path)!r} does not say in which format it is to be drawn; end it in .png, .pdf or .svg"
        )
    columns = values_of(table)
    heads = _drawn(table, columns)
    keys = [columns[head] for head in keys_of(table) if head in columns]
    figure = Figure(figsize=(7, 1 + 2.4 * len(heads)), layout="constrained")
    labels = [", ".join(map(_label, values)) for values in zip(*keys, strict=True)] or [""] * len(table)
    is_line = len(keys) == 1 and all(map(is_number, keys[0]))
    places = keys[0] if is_line else list(range(len(labels)))
    for number, head in enumerate(heads):
        axes: Any = figure.add_subplot(len(heads), 1, number + 1)
        errors = [one if one and math.isfinite(one) else 0.0 for one in columns.get(f"{head} std", [0.0] * len(labels))]
        points = zip(places, columns[head], errors, strict=True)
        drawn = sorted(point for point in points if is_number(point[1]) and math.isfinite(point[1]))
        xs, ys, sizes = zip(*drawn, strict=True) if drawn else ((), (), ())
        axes.errorbar(xs, ys, yerr=sizes, fmt="o-" if is_line else "o", capsize=3)
        _mark_not_finite(axes, places, columns[head])
        axes.set_ylabel(_label(head))
        axes.grid(alpha=0.3)
        if is_line:
            axes.set_xlabel(_label(keys_of(table)[0]))
        elif len(labels) <= _MOST_TICKS:
            axes.set_xticks(places, labels, rotation=30, ha="right")
    try:
        figure.savefig(path)
    except (ValueError, OSError) as error:
        raise SettingError(f"{str(path)!r} cannot be drawn: {error}") from error


def _mark_not_finite(axes: Any, places: Sequence[Any], values: Sequence[Any]) -> None:
    """Write `nan` or `inf` at the foot of the plot where a value has no place in it."""
    foot = axes.get_xaxis_transform()
    for place, value in zip(places, values, strict=True):
        if is_number(value) and not math.isfinite(value):
            axes.plot([place], [0.04], "x", color="tab:red", transform=foot)
            axes.text(place, 0.08, str(float(value)), color="tab:red", ha="center", transform=foot)


def _drawn(table: pd.DataFrame, columns: dict[str, list[Any]]) -> list[str]:
    """Return the columns of numbers; counts and times only where there is nothing else.

    Raises:
        SettingError: there is no number.
    """
    means = table.attrs.get("means", ())
    other = {*keys_of(table), *(f"{head} {part}" for head in means for part in ("std", "count"))}
    numbers = [head for head, values in columns.items() if head not in other and any(map(is_number, values))]
    if not numbers:
        raise SettingError("there is no number to draw in this table; name a metric")
    return [head for head in numbers if head not in ("runs", "not done", "edits", "took_s")] or numbers


def _label(value: Any) -> str:
    """Write a value as it is: between two dollar signs matplotlib would set a formula, or fail to."""
    return f"{value:g}" if isinstance(value, float) else clean(value).replace("$", r"\$")
