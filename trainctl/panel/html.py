"""Text as HTML: everything that comes from files, links or people is escaped here."""

from __future__ import annotations

from html import escape
from typing import Any
from urllib.parse import quote


def html(value: Any) -> str:
    """Escape any text for HTML, attributes too; nothing for None."""
    return "" if value is None else escape(str(value), quote=True)


def chip(state: str) -> str:
    """Write a state as a coloured chip; the state is outside input."""
    return f'<span class="chip {html(state)}">{html(state)}</span>'


def link(url: str, text: str, kind: str = "") -> str:
    """Write a link; `kind` is its class."""
    of_kind = f' class="{kind}"' if kind else ""
    return f'<a{of_kind} href="{html(url)}">{html(text)}</a>'


def run_link(name: str, text: str | None = None, query: str = "") -> str:
    """Write a link from a page of many runs to that of one. A name may hold slashes, and is one part of the URL."""
    return link(f"run/{quote(name, safe='')}{query}", name if text is None else text)
