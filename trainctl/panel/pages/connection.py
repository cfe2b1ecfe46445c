"""What an open page does by itself, whatever its server does: `connection.js` and its style, in the page's head.

It says within 3 s that its server does not answer, switches itself off, and comes back; it keeps theme and scroll.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from trainctl.panel.server._bokeh import extended_template

if TYPE_CHECKING:
    from jinja2 import Template

_HEAD = """{% extends base %}
{% block preamble %}{% raw %}<style>STYLE</style><script>SCRIPT</script>{% endraw %}{{ super() }}{% endblock %}"""


@cache
def template() -> Template:
    """Return Panel's template of a page with ours in its head."""
    ours = Path(__file__).with_name("connection")
    style, script = (ours.with_suffix(kind).read_text(encoding="utf-8") for kind in (".css", ".js"))
    return extended_template(_HEAD.replace("STYLE", style).replace("SCRIPT", script))
