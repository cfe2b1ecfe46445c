"""`docs/benchmarks.md` and its pictures, from figures."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from figure import Figure

_WIDTH, _ROW, _NAMES, _NUMBERS = 760, 22, 250, 90
_HEAD = """# Benchmarks

What this package costs, beside others that do the same work and beside the least that the machine allows. Everything is measured in one run,
in turn, each tool installed from its package in an environment of its own; who did not do the work is an error, not a figure. Machines differ:
read the ratios. `make bench` writes this page anew, `make bench-check` fails where a ratio has risen by more than 20 %.
"""


def write_page(folder: Path, machine: Mapping[str, Any], figures: Sequence[Figure]) -> None:
    """Write the page and one picture for each figure into a folder."""
    pictures = folder / "benchmarks"
    pictures.mkdir(parents=True, exist_ok=True)
    parts = [_HEAD, _machine(machine)]
    for figure in figures:
        parts.append(f"## {figure.title}\n\n{figure.how}\n\n{_table(figure)}")
        if figure.bars:
            (pictures / f"{figure.key}.svg").write_text(bars(figure.bars, figure.unit))
            alt = f"{figure.title.replace('`', '')}: bars, {figure.unit}"
            parts.append(f"![{alt}](benchmarks/{figure.key}.svg)\n")
        parts += [f"* {note}" for note in figure.notes]
        parts.append("")
    (folder / "benchmarks.md").write_text("\n".join(parts).rstrip() + "\n")


def _machine(machine: Mapping[str, Any]) -> str:
    length = "long" if machine["long"] else "short"
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    busy = machine.get("busy_cores", 0) > 0.25 * machine["cores"]
    others = (
        f"**The machine had other work to do ({machine['busy_cores']} cores busy before it began): these are no figures to go by.**\n"
        if busy
        else ""
    )
    return (
        f"{others}Measured on {machine['date']} in {machine['minutes']} minutes ({length} form): {machine['machine']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, Python {machine['python']}.\nVersions: {versions}.\n"
    )


def _table(figure: Figure) -> str:
    heads = [head or " " for head in figure.heads]
    lines = [f"| {' | '.join(heads)} |", f"|---|{'--:|' * (len(heads) - 1)}"]
    lines += [f"| {' | '.join(_cell(value) for value in row)} |" for row in figure.rows]
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    if value is None:
        return ""
    return number(value) if isinstance(value, (int, float)) else str(value).replace("|", "\\|")


def number(value: float) -> str:
    """Return a number with three digits that count.

    >>> number(0.01234), number(2.345), number(41.26), number(123456.7), number(0)
    ('0.0123', '2.35', '41.3', '123,457', '0')
    """
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:,.{max(0, min(digits, 6))}f}"


def bars(rows: Sequence[tuple[str, float]], unit: str) -> str:
    """Draw bars as SVG: from zero, or on a logarithmic scale where the largest is over 50 times the smallest.

    >>> bars([("a", 1.0), ("b", 2.0)], "ms").count("<rect")
    3
    """
    values = [value for _, value in rows if value > 0]
    is_log = max(values) > 50 * min(values)
    low = math.log10(min(values)) - 0.3
    reach = _WIDTH - _NAMES - _NUMBERS
    height = _ROW * (len(rows) + 1) + 14
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}">',
        '<g font-family="sans-serif" font-size="12" fill="#222">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for at, (name, value) in enumerate(rows):
        share = value / max(values)
        if is_log:
            share = max(0.0, (math.log10(value) - low) / (math.log10(max(values)) - low)) if value > 0 else 0.0
        top = 6 + at * _ROW
        colour = (
            "#3f51b5"
            if name.startswith(("trainctl", "slots", "live.", "recorded", "with hydra-trainctl"))
            else "#9aa5b1"
        )
        parts += [
            f'<text x="{_NAMES - 8}" y="{top + 14}" text-anchor="end">{html.escape(name)}</text>',
            f'<rect x="{_NAMES}" y="{top + 2}" width="{max(1.0, share * reach):.1f}" height="{_ROW - 6}" fill="{colour}"/>',
            f'<text x="{_NAMES + max(1.0, share * reach) + 6:.1f}" y="{top + 14}">{number(value)}</text>',
        ]
    scale = f"{unit}, logarithmic" if is_log else unit
    parts.append(f'<text x="{_NAMES}" y="{6 + len(rows) * _ROW + 15}" fill="#666">{html.escape(scale)}</text>')
    return "\n".join([*parts, "</g></svg>"]) + "\n"
