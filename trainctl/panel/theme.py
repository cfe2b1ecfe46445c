"""How the page looks: one palette, one style sheet, one frame for all pages."""

from __future__ import annotations

from typing import Any

import panel
import panel_material_ui as pmui
from panel.util import edit_readonly

from trainctl.panel.words import html

_COMMON = {"typography": {"fontSize": 13}, "shape": {"borderRadius": 4}}
THEME = {
    "light": {**_COMMON, "palette": {"primary": {"main": "#36506d"}}},
    "dark": {**_COMMON, "palette": {"primary": {"main": "#8fb3dc"}}},
}

# the outline of a field that holds an edit which is not asked for yet
CHANGED = {
    "& .MuiOutlinedInput-notchedOutline": {"borderColor": "#d98200 !important", "borderWidth": "2px"},
    "& .MuiSwitch-track": {"outline": "2px solid #d98200", "outlineOffset": "2px"},
}

FRAME = {
    "& .MuiToolbar-root": {"minHeight": "44px !important"},
    "& .MuiAppBar-root": {"boxShadow": "none", "backgroundColor": "#36506d"},
    "& .title": {"fontSize": "1.1rem !important"},
}

SECTION = {
    "& .MuiCardHeader-root": {"padding": "3px 12px", "backgroundColor": "rgba(128, 136, 150, 0.12)"},
    "& .MuiCardHeader-root .MuiTypography-root": {"fontSize": "13px", "fontWeight": 700},
    "& .MuiCardHeader-root .MuiIconButton-root": {"padding": "2px"},
    "& .MuiCardContent-root": {"padding": "4px 6px !important"},
}

# as many fields in a row as there is room for, all of one width
GRID = {"display": "grid", "gridTemplateColumns": "repeat(auto-fill, minmax(165px, 1fr))"}

# inherited by shadow roots nowhere: every pane that shows HTML of ours is given it
STYLE = """
:host { --ok: #2e8b37; --bad: #d83a31; --dim: #75808d; --line: #8884; font-size: 13px; line-height: 1.45; }
a { color: inherit; } a.bar-link { color: #fff; }
.chip { display: inline-block; border-radius: 9px; padding: 0 9px; color: #fff; background: #66707d; font-size: 12px;
  line-height: 19px; }
.chip.running { background: #2e7d32; } .chip.done { background: #36506d; } .chip.failed { background: #c62828; }
.chip.interrupted { background: #a05a00; } .chip.queued { background: #6a7380; }
.facts { display: flex; flex-wrap: wrap; gap: 2px 14px; align-items: center; line-height: 22px; }
.dim { color: var(--dim); } .bad { color: var(--bad); } .ok { color: var(--ok); }
.bar { height: 3px; background: var(--line); margin-top: 4px; }
.bar i { display: block; height: 3px; background: #36506d; }
code, .mono { font-family: ui-monospace, 'DejaVu Sans Mono', monospace; font-size: 12.5px; }
.edit { display: inline-block; background: #fff3d6; color: #222; border-radius: 3px; padding: 1px 7px;
  margin: 2px 6px 2px 0; max-width: 100%; overflow-wrap: anywhere; }
.edit.wrong { background: #ffdedb; } .edit s { color: #777; }
table { border-collapse: collapse; width: 100%; font-size: 12.5px; }
th { text-align: left; font-weight: 600; border-bottom: 2px solid var(--line); padding: 3px 7px; white-space: nowrap; }
td { border-bottom: 1px solid var(--line); padding: 3px 7px; vertical-align: top; white-space: nowrap; }
td.text { white-space: normal; width: 40%; } td.value { white-space: normal; max-width: 220px;
  overflow-wrap: break-word; } td.num, th.num { text-align: right; }
h3 { font-size: 13px; margin: 2px 0 6px; }
.scroll { overflow-x: auto; }
"""


def frame(title: str, main: list[Any], header: str = "") -> pmui.Page:
    """Return a page with a slim bar; `header` is HTML of ours beside the title."""
    bar = panel.pane.HTML(header, stylesheets=[STYLE], margin=(0, 10)) if header else None
    page = pmui.Page(
        title=title,
        meta_title=html(title),  # its template writes it as it is
        main=main,
        header=[bar] if bar is not None else [],
        theme_config=THEME,
        sx=FRAME,
        busy_indicator=None,
        site_url="#",
    )
    with edit_readonly(page):
        # Page ties `busy` to that of the whole process: every update of any session would redraw every other page
        page.busy = False
    return page


def link(url: str, text: str, kind: str = "") -> str:
    """Return a link as HTML."""
    return f'<a class="{kind}" href="{html(url)}">{html(text)}</a>'
