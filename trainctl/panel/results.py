"""What came out of a sweep: runs that differ in their seed only are one row, with mean and standard deviation."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trainctl.panel.runtable import metrics_of, swept_of
from trainctl.panel.runview import Row

SEEDS = ("seed", "trainctl.seed")


@dataclass(frozen=True, slots=True)
class Cell:
    """The values of one column over the seeds of one row. The deviation is that of a sample, None for a single one."""

    mean: float
    deviation: float | None
    count: int

    def text(self, sign: str = "±") -> str:
        """Write both in digits that the deviation leaves meaningful.

        >>> Cell(0.97123, 0.0042, 3).text(), Cell(12.0, None, 1).text()
        ('0.9712 ± 0.0042', '12')
        """
        if self.deviation is None:
            return f"{self.mean:.6g}"
        if self.deviation == 0 or not math.isfinite(self.deviation):
            return f"{self.mean:.6g} {sign} {self.deviation:.3g}"
        digits = max(0, 1 - math.floor(math.log10(self.deviation)))
        return f"{self.mean:.{digits}f} {sign} {self.deviation:.{digits}f}"


@dataclass(frozen=True, slots=True)
class Results:
    """A table: swept keys (without seeds), how many runs, then a cell or None per metric."""

    keys: list[str]
    metrics: list[str]
    rows: list[tuple[list[str], int, list[Cell | None]]]


def results_of(rows: Mapping[str, Row]) -> Results:
    """Group the runs that are done by what is swept besides the seed, in order of first appearance."""
    swept = swept_of(rows)
    keys = [key for key in swept if key.rpartition(".")[2] not in SEEDS]
    metrics = [*_results(rows), *metrics_of(rows)]
    groups: dict[tuple[str, ...], list[Row]] = {}
    for number, row in enumerate(rows.values()):
        if row.summary.state == "done":
            groups.setdefault(tuple(swept[key][number] or "" for key in keys), []).append(row)
    return Results(
        keys,
        metrics,
        [(list(group), len(found), [_cell(found, name) for name in metrics]) for group, found in groups.items()],
    )


def value_of(row: Row, name: str) -> float | None:
    """Return a run's number of that name: its result, a part of it, or its last metric."""
    run = row.summary
    found: object = run.metrics.get(name)
    if name == "result":
        found = run.result
    elif name.startswith("result."):
        found = run.result.get(name.removeprefix("result.")) if isinstance(run.result, dict) else None
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def to_csv(table: Results) -> str:
    """Write one column each for mean, deviation and count; values as text that CSV readers take back."""
    heads = [*table.keys, "runs"]
    for name in table.metrics:
        heads += [name, f"{name} std"]
    lines = [heads]
    for group, number, cells in table.rows:
        line = [*group, str(number)]
        for cell in cells:
            line += (
                ["", ""] if cell is None else [repr(cell.mean), "" if cell.deviation is None else repr(cell.deviation)]
            )
        lines.append(line)
    return "".join(",".join(map(_quoted, line)) + "\r\n" for line in lines)


def to_markdown(table: Results) -> str:
    """Write a table as GitHub reads it."""
    heads, lines = _texts(table, "±")
    rule = ["---"] * len(table.keys) + ["---:"] * (len(heads) - len(table.keys))
    escaped = [[cell.replace("\\", "\\\\").replace("|", "\\|") for cell in line] for line in (heads, *lines)]
    return "".join(f"| {' | '.join(line)} |\n" for line in (escaped[0], rule, *escaped[1:]))


def to_latex(table: Results) -> str:
    """Write a tabular in the style of booktabs."""
    heads, lines = _texts(table, "$\\pm$")
    number = len(table.keys)
    body = [
        " & ".join([*map(_tex, line[:number]), *line[number:]]) + r" \\"
        for line in ([*heads[:number], *map(_tex, heads[number:])], *lines)
    ]
    columns = "l" * number + "r" * (len(heads) - number)
    parts = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", body[0], r"\midrule", *body[1:], r"\bottomrule"]
    return "\n".join([*parts, r"\end{tabular}", ""])


def _texts(table: Results, sign: str) -> tuple[list[str], list[list[str]]]:
    heads = [*table.keys, "runs", *table.metrics]
    lines = [
        [*group, str(number), *("" if cell is None else cell.text(sign) for cell in cells)]
        for group, number, cells in table.rows
    ]
    return heads, lines


def _results(rows: Mapping[str, Row]) -> list[str]:
    """Return `result`, or one name per part when runs return mappings."""
    found: dict[str, None] = {}
    for row in rows.values():
        value = row.summary.result
        if isinstance(value, dict):
            found |= dict.fromkeys(f"result.{key}" for key in value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found["result"] = None
    return list(found)[:12]


def _cell(rows: Sequence[Row], name: str) -> Cell | None:
    values = [value for row in rows if (value := value_of(row, name)) is not None]
    if not values:
        return None
    if not all(map(math.isfinite, values)):
        return Cell(sum(values), None, len(values))  # nan or inf, as it should be
    return Cell(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def _quoted(text: str) -> str:
    """Quote a cell; one that a spreadsheet would take for a formula gets a quote mark before it."""
    if text[:1] in ("=", "@", "\t", "\r") or (text[:1] in "+-" and not _is_number(text)):
        text = f"'{text}"
    return '"' + text.replace('"', '""') + '"' if any(char in text for char in ',"\r\n') else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _tex(text: str) -> str:
    escapes = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    escapes |= {char: f"\\{char}" for char in "&%$#_{}"}
    return "".join(escapes.get(char, char) for char in text)
