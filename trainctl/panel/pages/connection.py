"""What an open page does when its server does not answer: it says so, switches itself off, and comes back by itself."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from trainctl.panel.server._bokeh import extended_template

if TYPE_CHECKING:
    from jinja2 import Template

# Plain JavaScript in the page's head, so that it sees the websocket which Bokeh opens later. A websocket says when it
# is closed, but not when nobody reads it any more (a stopped server, a cable that is cut): so the page also asks for
# the head of a file. `EVERY` ms after an answer it asks again, and waits `PATIENCE` ms: less than 3 s until the banner.
SCRIPT = """
(() => {
  const EVERY = 700, PATIENCE = 1900, BETWEEN_LOADS = 5000, UNLOADED = 30000;
  const file = () => document.querySelector('script[src*="static/js/bokeh.min.js"]').src;  // below a proxy's path too
  let banner = null, hasMissed = false, hasOpened = false, isLost = false, isLeaving = false, answered = new Date();

  window.WebSocket = class extends WebSocket {
    constructor(...given) {
      super(...given);
      this.addEventListener("open", () => { hasOpened = true; });
      this.addEventListener("close", () => { isLost = true; show(); });
    }
  };
  addEventListener("pagehide", () => { isLeaving = true; });
  addEventListener("pageshow", event => { if (event.persisted) location.reload(); });

  const switchOff = isOff => {
    for (const part of document.body.children) if (part !== banner) part.inert = isOff;
    document.documentElement.toggleAttribute("data-lost", isOff);
  };
  const show = () => {
    if (isLeaving || !document.body) return;
    if (!banner) {
      banner = document.createElement("div");
      banner.id = "trainctl-lost";
      banner.setAttribute("role", "alert");
      banner.textContent = `The page's server has not answered since ${answered.toLocaleTimeString()}. What is shown ` +
        "is of that time, and nothing can be changed here. Whether the runs go on is not known to this page; " +
        "trainctl ls tells. This page comes back when its server answers; if that has ended, trainctl panel starts it.";
      document.body.append(banner);
    }
    switchOff(true);  // each time: parts may have been added
  };
  const hide = () => {
    switchOff(false);
    banner.remove();
    banner = null;
  };
  const look = async () => {
    const asked = new Date(), signal = AbortSignal.timeout(PATIENCE);
    const how = {method: "HEAD", cache: "no-store", redirect: "manual", signal};
    const found = await fetch(file(), how).catch(() => null);
    if (!found || found.status >= 500) {
      hasMissed = true;
      show();
    } else if (!isLost) {
      answered = asked;
      if (banner) hide();  // it was late, and the websocket is the same
    } else if (found.ok && (hasOpened || hasMissed) && performance.now() > BETWEEN_LOADS) {
      location.reload();
      setTimeout(look, UNLOADED);  // should it not be answered: asking again meanwhile would begin again
      return;
    }
    setTimeout(look, EVERY);
  };
  addEventListener("load", look);
})();
"""

STYLE = """
#trainctl-lost { position: fixed; left: 0; right: 0; bottom: 0; z-index: 99999; padding: 8px 14px; background: #8a1c1c;
  color: #fff; font: 14px/1.45 sans-serif; }
html[data-lost] body::after { content: ""; position: fixed; inset: 0; z-index: 99998; pointer-events: none;
  background: #8887; backdrop-filter: grayscale(1); }
"""

_HEAD = """{% extends base %}
{% block preamble %}<style>STYLE</style><script>SCRIPT</script>{{ super() }}{% endblock %}"""


@cache
def template() -> Template:
    """Return Panel's template of a page with ours in its head."""
    return extended_template(_HEAD.replace("STYLE", STYLE).replace("SCRIPT", SCRIPT))
