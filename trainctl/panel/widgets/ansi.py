"""Terminal output as HTML: colours and weights stay, everything else that a terminal would obey is left out."""

from __future__ import annotations

import re

from trainctl.panel.html import html

_CODES = re.compile(r"\x1b\[([0-9;:]*)m")
_OTHERS = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-ln-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])"  # moves, titles, links
    r"|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f]"
)
# the codes 30 to 37 and 90 to 97 in order; each is readable on white and on near-black
_NAMES = ("k", "r", "g", "y", "b", "m", "c", "w")
STYLE = """
.log .r { color: color-mix(in srgb, #d0302a 70%, var(--panel-on-background-color, currentColor)); }
.log .g { color: color-mix(in srgb, #1f8a3a 62%, var(--panel-on-background-color, currentColor)); }
.log .y { color: color-mix(in srgb, #9a7000 62%, var(--panel-on-background-color, currentColor)); }
.log .b { color: color-mix(in srgb, #2f6fd0 65%, var(--panel-on-background-color, currentColor)); }
.log .m { color: color-mix(in srgb, #a03fb8 68%, var(--panel-on-background-color, currentColor)); }
.log .c { color: color-mix(in srgb, #0f808c 62%, var(--panel-on-background-color, currentColor)); }
.log .w, .log .k { opacity: .78; }
.log .bold { font-weight: 700; } .log .faint { opacity: .75; } .log .italic { font-style: italic; }
.log .under { text-decoration: underline; } .log mark { background: #ffe08a; color: #222; }
"""


def last_written(line: str) -> str:
    r"""Return what a terminal would show of a line in which a progress bar went back to its start again and again.

    >>> last_written("10%\r20%\r100%"), last_written("done\r")
    ('100%', 'done')
    """
    parts = [part for part in line.split("\r") if part]
    return parts[-1] if parts else ""


def plain(text: str) -> str:
    r"""Return the text without any terminal codes.

    >>> plain("\x1b[31mred\x1b[0m \x1b[2Kline")
    'red line'
    """
    return _OTHERS.sub("", _CODES.sub("", text))


def to_html(text: str) -> str:
    r"""Write text with terminal codes as HTML, escaped.

    >>> to_html("\x1b[1;31mred\x1b[0m <b>")
    '<span class="bold r">red</span> &lt;b&gt;'
    """
    found, state = [], dict[str, str]()
    place = 0
    text = _OTHERS.sub("", text)
    for match in _CODES.finditer(text):
        found.append(_piece(text[place : match.start()], state))
        _apply(match[1], state)
        place = match.end()
    found.append(_piece(text[place:], state))
    return "".join(found)


def _piece(text: str, state: dict[str, str]) -> str:
    if not text:
        return ""
    return f'<span class="{" ".join(state.values())}">{html(text)}</span>' if state else html(text)


def _apply(codes: str, state: dict[str, str]) -> None:
    numbers = [int(code) if code.isdigit() else 0 for code in re.split("[;:]", codes)]
    while numbers:
        code = numbers.pop(0)
        if code == 0:
            state.clear()
        elif code in (38, 48):
            del numbers[: 4 if numbers[:1] == [2] else 2]  # one of 256 or more colours: not shown
        elif code in (1, 2, 3, 4):
            state[f"style{code}"] = ("bold", "faint", "italic", "under")[code - 1]
        elif 22 <= code <= 24:
            for style in {22: ("style1", "style2"), 23: ("style3",), 24: ("style4",)}[code]:
                state.pop(style, None)
        elif 30 <= code <= 37 or 90 <= code <= 97:
            state["colour"] = _NAMES[code % 10]
        elif code == 39:
            state.pop("colour", None)
