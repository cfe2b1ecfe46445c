"""Nothing that stands in the files of a run is run by a browser: its state, its commands' states, names, reasons."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from browsing import CHROMIUM, PATIENCE_S, expect, run_url, settle
from made_sweep import make_run

from trainctl.config import yaml
from trainctl.config.changelog import Changelog, Edit, dumps
from trainctl.config.settings import PanelSettings
from trainctl.panel.pages.run import OTHERS as TABS
from trainctl.panel.server import handle as process
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed on this machine")

# as an element's text, and out of an attribute
PAYLOAD = "<img src=x onerror='window.pwned=1'>x\"><svg onload='window.pwned=2'></svg><b class=\""
# where a link leads, what a terminal obeys, what a spreadsheet, LaTeX and Markdown take for theirs
URL = "javascript:window.pwned=3"
OTHERS = (
    "\x1b]0;title\x07\x1b[8mhidden\x9b31m\u202etxt =HYPERLINK('http://pwned') "
    r"\input{x} [x](javascript:window.pwned=4) ![i](/p)"
)
STATES = {"state": PAYLOAD, "failed": "failed", "list": [PAYLOAD, {PAYLOAD: PAYLOAD}], "url": URL, "others": OTHERS}
PAYLOADS = {"url": URL, "others": OTHERS}
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
INSERTED = "const one = document.createElement('script'); one.text = 'window.pwned = 6'; document.body.append(one)"
FIELDS = ("slot", "host", "reason", "signal", "started", "attempt", "pid", "exit_code")


def hostile(root: Path, name: str, state: Any, payload: str = PAYLOAD) -> RunDir:
    """Write a run whose status has a payload in its fields; in its metrics, events and other files as well."""
    run = make_run(root, name, [f"norm={payload}"], slot=payload, result={payload: payload})
    command = {"state": payload, "signal": payload, "started": payload}
    status = {**dict.fromkeys(FIELDS, payload), "commands": {payload: command, "train": command}, "state": state}
    run.status.write_text(yaml.dumps(status))
    record = {"name": payload, "overrides": [f"norm={payload}", payload], "argv": [payload], "cwd": payload}
    run.run.write_text(yaml.dumps({**record, "git": {payload: payload}, "parent": payload, "actions": {payload: 3}}))
    run.progress.write_text(yaml.dumps({"step": payload, "total": payload, "rate": payload, "paused": payload}))
    run.metrics.write_text(json.dumps({"step": 1, payload: 0.5, "note": payload}) + "\n")
    run.log.write_text(f"{payload}\nTraceback (most recent call last):\n  {payload}\nValueError: {payload}\n")
    edit = Edit(3, {"norm": payload + "2"}, who="me", via="cli", note=payload.partition("\r")[0])
    run.changelog.write_text(dumps(Changelog({"norm": payload, payload: payload, "lr": 0.1}, [edit])))
    (run.path / "notes.txt").write_text(payload)
    event = {"id": payload, "state": "rejected", "edits": {payload: payload}, "who": payload, "via": payload, "t": 1.0}
    files.append_lines(run.events, [{**event, "note": payload, "reason": payload}, {**event, "step": payload}])
    return run


@pytest.fixture(scope="module")
def hostile_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("hostile") / "root"
    make_run(root, "plain", ["norm=new"], result=0.5)
    for name, state in STATES.items():
        hostile(root, name, state, PAYLOADS.get(name, PAYLOAD))
    handle = process.ensure(root, PanelSettings())
    assert handle is not None
    yield handle.url
    handle.close()


def pages(url: str) -> list[tuple[str, str]]:
    base = url.partition("?")[0]
    runs = [(f"run page of {name}", run_url(url, name)) for name in STATES]
    more = ("?group=state", "?group=norm&tab=results", "compare?a=state&b=failed")
    who = [(tab, name) for tab in TABS for name in ("failed", "others")]
    tabs = [(f"{tab} of {name}", f"{run_url(url, name)}?tab={tab}") for tab, name in who]
    return [("overview", url), *((each, base + each) for each in more), *runs, *tabs]


@pytest.mark.slow
@pytest.mark.timeout(20 * PATIENCE_S)
def test_script_in_any_file_is_only_text_on_every_page(browser: Any, hostile_url: str) -> None:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    context.set_default_timeout(1000 * PATIENCE_S)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    for what, address in pages(hostile_url):
        page.goto(address)
        settle(page)
        if what == "overview":
            expect(page.get_by_role("link", name="plain", exact=True)).to_be_visible()
        assert page.evaluate("window.pwned") is None, what
        assert page.locator("img[src=x], img[src='/p'], svg[onload], a[href^='javascript:']").count() == 0, what
        assert not CONTROL.search(page.locator("body").inner_text()), what
        if what == "overview":
            row = page.locator(".row").filter(has=page.get_by_role("link", name="state", exact=True))
            expect(row).to_contain_text("unreadable")
            page.get_by_text("1 failed or interrupted, 4 unreadable").click()
            expect(page.get_by_text("is not a state").first).to_be_attached()
        if what.startswith("run page of state"):
            expect(page.get_by_text("status.yaml: state").first).to_contain_text("is not a state")
        if what.startswith("run page of failed"):
            expect(page.get_by_text("this run takes no edits")).to_be_visible()
    assert [each for each in said if "Content Security Policy" in each] == []  # nothing of ours needs what it forbids
    page.evaluate(INSERTED)  # as if a text had come into the page as markup
    assert page.evaluate("window.pwned") is None
    assert [each for each in said if "Content Security Policy" in each] != []
    context.close()


@pytest.mark.slow
@pytest.mark.parametrize("route", ["", *(f"run/{name}" for name in STATES), "compare?a=state&b=failed"])
def test_page_as_it_is_sent_holds_nothing_of_a_run(hostile_url: str, route: str) -> None:
    base, _, query = hostile_url.partition("?")
    path, _, more = route.partition("?")
    request = urllib.request.Request(f"{base}{path}?{more}&{query}")
    request.add_header("Authorization", f"Bearer {dict(parse_qsl(query))['token']}")
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        page = answer.read().decode()
    assert "<script" in page
    assert [each for each in ("pwned", "onerror", "onload", "HYPERLINK") if each in page] == []
