"""How the page looks: one palette, one style sheet, one frame for all pages."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import panel
import panel_material_ui as pmui

from trainctl.panel.html import html, link
from trainctl.panel.pages.session import argument, remember, show_failures
from trainctl.panel.server._bokeh import edit_readonly, extended_template, unfollowed_busy

if TYPE_CHECKING:
    from jinja2 import Template


ALL_RUNS = "All runs"

_COMMON = {"typography": {"fontSize": 13}, "shape": {"borderRadius": 4}}
THEME = {
    "light": {**_COMMON, "palette": {"primary": {"main": "#36506d"}, "error": {"main": "#c62828"}}},
    "dark": {**_COMMON, "palette": {"primary": {"main": "#8fb3dc"}, "error": {"main": "#ff8a80"}}},
}

FRAME = {
    "& .MuiToolbar-root": {"minHeight": "44px !important"},
    "& .MuiAppBar-root": {"boxShadow": "none", "backgroundColor": "#36506d"},
    "& .title": {"fontSize": "18px !important"},
}

SECTION = {
    "& .MuiCardHeader-root": {"padding": "4px 12px", "backgroundColor": "rgba(128, 136, 150, 0.12)"},
    "& .MuiCardHeader-root .MuiTypography-root": {"fontSize": "13px", "fontWeight": 700},
    "& .MuiCardHeader-root .MuiIconButton-root": {"padding": "2px"},
    "& .MuiCardContent-root": {"padding": "4px !important"},
}

# next to something that takes the rest of the line
ASIDE = {"flex": "0 1 auto", "width": "auto", "max-width": "100%", "min-width": "0"}
REST = {"flex": "1 1 300px", "width": "auto", "min-width": "0", "max-width": "100%"}

# narrow, so that all tabs fit a small screen
_TABS = {"& .MuiTab-root": {"minWidth": "56px", "padding": "8px 12px"}}

STATE_COLORS = {
    "running": "#2e7d32",
    "done": "#36506d",
    "queued": "#6a7380",
    **dict.fromkeys(("failed", "timeout", "oom", "unreadable"), "#c62828"),
    **dict.fromkeys(("interrupted", "stopped", "paused"), "#a05a00"),
}

# beside a log: a name above a state; the background shows which is chosen
LOG_BUTTON = {
    "display": "block",
    "textAlign": "left",
    "textTransform": "none",
    "whiteSpace": "pre-line",
    "overflowWrap": "anywhere",
    "lineHeight": 1.4,
    "padding": "4px 12px",
    "borderLeft": "5px solid",
    "color": "text.primary",
    "&::first-line": {"fontWeight": 700},
}

# shadow roots do not inherit it: every component is given it
BASE = Path(__file__).with_name("base.css").read_text()

# and every pane of HTML is given this
STYLE = (
    BASE
    + """
a { color: inherit; } a.bar-link { color: #fff; }
.chip { display: inline-block; border-radius: 9px; padding: 0 8px; color: #fff; background: #66707d;
  font-size: var(--small); line-height: 20px; }
.facts { display: flex; flex-wrap: wrap; gap: 2px 12px; align-items: baseline; line-height: 24px; }
.slots { display: flex; flex-wrap: wrap; gap: 4px 8px; } .slot { border: 1px solid var(--line); border-radius: 4px;
  padding: 0 8px; line-height: 22px; } .slot.idle { opacity: .75; }
details { margin: 2px 0; } details details { margin-left: 16px; } summary { cursor: pointer; }
.key { display: inline-block; width: 12px; height: 3px; margin-right: 8px; vertical-align: middle; }
/* mixed with the text's colour: darker on light ground, lighter on dark. Not with currentColor: where a theme's colours
  glide, Chromium leaves what is mixed with that as it was on the way */
.dim { opacity: .78; }
.bad { color: color-mix(in srgb, #c62828 70%, var(--panel-on-background-color, currentColor)); }
.ok { color: color-mix(in srgb, #2e8b37 62%, var(--panel-on-background-color, currentColor)); }
.unread { background: #f5d76e; color: #222; border-radius: 3px; padding: 0 4px; }
.bar { height: 3px; background: var(--line); margin-top: 4px; }
.bar i { display: block; height: 3px; background: #36506d; }
code, .mono { font-family: var(--mono); font-size: var(--small); }
.edit { display: inline-block; background: #fff3d6; color: #222; border-radius: 3px; padding: 2px 8px;
  margin: 2px 8px 2px 0; max-width: 100%; overflow-wrap: anywhere; }
.edit.wrong { background: #ffdedb; } .edit s { color: #5c5c5c; }
table { border-collapse: collapse; width: 100%; font-size: var(--small); }
th { text-align: left; font-weight: 600; border-bottom: 2px solid var(--line); padding: 4px 8px; white-space: nowrap; }
td { border-bottom: 1px solid var(--line); padding: 4px 8px; vertical-align: top; white-space: nowrap; }
td.text { white-space: normal; width: 40%; } td.value { white-space: normal; max-width: 220px;
  overflow-wrap: break-word; } td.num, th.num { text-align: right; }
th:has(+ td) { border-bottom-width: 1px; }
h2.head { font-size: var(--text); margin: 8px 0; }
/* what is wider than its place fades at the right until the end is in sight */
.scroll { overflow-x: auto; scrollbar-width: thin; background:
  linear-gradient(to left, var(--panel-background-color, #fff) 30%, transparent) right / 48px 100% no-repeat local,
  linear-gradient(to left, #8886, transparent) right / 16px 100% no-repeat scroll; }
"""
    + "".join(f".chip.{state} {{ background: {color}; }}\n" for state, color in STATE_COLORS.items())
)

# of the page itself, outside of all parts: what `connection.js` shows
_HEAD_STYLE = """
html[data-dark] body { background: #121212; color-scheme: dark; }
#trainctl-lost, #trainctl-late { position: fixed; left: 0; right: 0; bottom: 0; z-index: 99999; padding: 8px 16px;
  background: #8a1c1c; color: #fff; font: 13px/1.45 sans-serif; }
#trainctl-late { background: #f5d76e; color: #222; z-index: 99997; }
#trainctl-late button { margin-left: 12px; font: inherit; }
html[data-lost] body::after { content: ""; position: fixed; inset: 0; z-index: 99998; pointer-events: none;
  background: #8887; backdrop-filter: grayscale(1); }
"""


def tabs(names: Sequence[str], parts: Sequence[Any], key: str = "tab") -> pmui.Tabs:
    """Return parts as tabs. The address names the open one under `key`, unless it is the first."""
    wanted = argument(key)
    active = names.index(wanted) if wanted in names else 0
    made = pmui.Tabs(*zip(names, parts, strict=True), active=active, sx=_TABS, sizing_mode="stretch_width", margin=0)
    made.param.watch(lambda event: remember(**{key: names[event.new] if event.new else None}), ["active"])
    return made


def frame(title: str, main: list[Any], up: str | None = None) -> pmui.Page:
    """Return a page with a slim bar; `up` is the address of the page of all runs, linked beside the title."""
    bar = panel.pane.HTML(link(up, ALL_RUNS, "bar-link"), stylesheets=[STYLE], margin=(0, 12)) if up else None
    said = panel.pane.HTML("", stylesheets=[STYLE], sizing_mode="stretch_width", margin=(8, 12), visible=False)

    def show(text: str) -> None:
        said.param.update(object=f'<div role="alert" class="bad">{html(text)}</div>', visible=True)

    show_failures(show)
    with unfollowed_busy():
        page = pmui.Page(
            title=title,
            meta_title=html(title),  # its template writes it as it is
            main=[said, *main],
            header=[bar] if bar is not None else [],
            theme_config=THEME,
            sx=FRAME,
            busy_indicator=None,
            dark_theme=argument("theme") == "dark",
            site_url="#",
            template=_template(),
        )
        with edit_readonly(page):
            page.busy = False
    return page


def message(text: str, up: str) -> pmui.Page:
    """Return a page that says one sentence and leads to the page of all runs."""
    said = f"<p>{html(text)} {link(up, ALL_RUNS)}</p>"
    return frame("trainctl", [panel.pane.HTML(said, stylesheets=[STYLE], margin=16)])


@cache
def _template() -> Template:
    """Return Panel's page template with `connection.js` in its head: what an open page does whatever its server does.

    It says within 3 s that its server does not answer, disables the page, reconnects, and keeps theme and scroll.
    """
    script = Path(__file__).with_name("connection.js").read_text(encoding="utf-8")
    return extended_template(
        "{% extends base %}{% block preamble %}{% raw %}<style>"
        + _HEAD_STYLE
        + "</style><script>"
        + script
        + "</script>{% endraw %}{{ super() }}{% endblock %}"
    )
