"""What is expected of each name of Panel, Bokeh and Tornado that their documentation does not promise."""

from __future__ import annotations

import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

import panel
import panel_material_ui as pmui
import param
import pytest
from bokeh.server.util import check_allowlist
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from tornado.routing import Router
from tornado.web import Application, ErrorHandler

from trainctl.panel.server import _bokeh


def test_application_serves_pages_behind_its_prefix_and_knows_whether_one_is_open() -> None:
    told: list[Any] = []

    def page() -> None:
        told.append(({name.lower() for name in panel.state.headers}, panel.state.cookies, panel.state.route_params))
        panel.Row("text").server_doc(panel.state.curdoc)

    class Mark(_bokeh.OutputTransform):  # type: ignore[misc]  # untyped here
        def __init__(self, request: Any) -> None:
            pass

        def transform_first_chunk(self, status: int, headers: Any, chunk: bytes, finishing: bool) -> Any:
            headers["X-Mark"] = "set"
            return status, headers, chunk

    async def serve() -> None:
        pages = {"/": page, r"/run/(?P<name>[^/]+)": page}
        application = _bokeh.application_of(pages, "prefix", ["X-Known"])
        for host in ("lab.example", "127.0.0.1:1", "[::1]:2"):  # the gate has judged them already
            assert check_allowlist(host, application.websocket_origins)
        application.add_transform(Mark)
        sockets = bind_sockets(0, "127.0.0.1")
        http = HTTPServer(application)
        http.add_sockets(sockets)
        server = _bokeh.BaseServer(IOLoop.current(), application, http)
        server.start()
        try:
            assert not _bokeh.is_open(application, 60_000)
            url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/prefix/run/a%2Fb"
            headers = {"X-Known": "1", "X-Other": "2", "Cookie": "a=b"}
            answer = await AsyncHTTPClient().fetch(url, headers=headers, request_timeout=120)
            assert answer.headers["X-Mark"] == "set"
            (given, cookies, arguments), *others = told
            assert (others, cookies, arguments) == ([], {}, {"name": "a/b"})
            assert "x-known" in given
            assert "x-other" not in given
            assert _bokeh.is_open(application, 60_000)
            assert not _bokeh.is_open(application, 0)
        finally:
            server.stop()
            await http.close_all_connections()

    asyncio.run(serve())


def test_connection_of_a_request_is_known_when_its_headers_have_been_read() -> None:
    peers: list[Any] = []

    class Door(Router):
        def find_handler(self, request: Any, **kwargs: Any) -> Any:
            peers.append(_bokeh.stream_of(request).socket.getpeername())
            return self.doorman.get_handler_delegate(request, ErrorHandler, {"status_code": 418})

        doorman = Application()

    async def serve() -> None:
        sockets = bind_sockets(0, "127.0.0.1")
        http = HTTPServer(Door())
        http.add_sockets(sockets)
        url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/"
        assert (await AsyncHTTPClient().fetch(url, raise_error=False)).code == 418
        http.stop()
        await http.close_all_connections()

    asyncio.run(serve())
    assert [host for host, _ in peers] == ["127.0.0.1"]


def test_no_other_file_imports_such_names() -> None:
    undocumented = re.compile(
        r"^\s*(?:from|import) (?:panel\.\w|bokeh\.(?!models|plotting)).*|^from tornado.*OutputTransform", re.MULTILINE
    )
    root = Path(_bokeh.__file__).parents[1]
    found = {path.name: undocumented.findall(path.read_text()) for path in root.rglob("*.py")}
    assert {name for name, lines in found.items() if lines} == {"_bokeh.py"}


def test_page_of_panel_follows_the_busy_process_unless_it_is_kept_from_it() -> None:
    def followers() -> int:
        return len(panel.state.param.watchers.get("busy", {}).get("value", []))

    before = followers()
    with _bokeh.unfollowed_busy():
        pmui.Page(title="a page")
    assert followers() == before
    with _bokeh.unfollowed_busy():
        pmui.Page(title="a page")
        assert followers() > before, "the context is not needed any more"


def test_readonly_parameter_is_set_in_the_context() -> None:
    class Shown(param.Parameterized):  # type: ignore[misc]  # param is untyped
        busy = param.Boolean(default=False, readonly=True)

    shown = Shown()
    with pytest.raises(TypeError, match="busy"):
        shown.busy = True
    with _bokeh.edit_readonly(shown):
        shown.busy = True
    assert shown.busy is True
    assert [pmui.Page.param.busy.readonly, pmui.TextInput.param.value_input.readonly] == [True, True]


def test_base_template_has_the_block_that_is_extended() -> None:
    made = _bokeh.extended_template("{% extends base %}{% block preamble %}before{{ super() }}{% endblock %}")
    assert "preamble" in made.globals["base"].blocks
    assert made.globals["base"].name == "base.html"


def test_callback_can_tick_in_the_background_and_documents_can_be_frozen() -> None:
    assert _bokeh.PeriodicCallback(callback=lambda: None, period=1000, background=True)._background is True
    assert "freeze" in inspect.signature(_bokeh.hold).parameters
