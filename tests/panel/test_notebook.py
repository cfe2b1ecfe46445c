"""The page inside a notebook: it renders for a real root, keeps to what may be done there, and shows no secret."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from trainctl.config.changelog import Changelog, dumps
from trainctl.config.controls import Key
from trainctl.errors import RunDirError
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import Status, write_status

# Panel 1.9 asks pandas for what pandas is going to take away
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with one run; it holds a secret, and a lock as if it trained."""
    run = RunDir.at(tmp_path / "root" / "Lr_0.1")
    run.create()
    keys = {key: Key("str").to_dict() for key in ("mode", "api_key")}
    files.write_yaml(run.run, {"name": run.name, "overrides": ["lr=0.1"], "keys": keys})
    run.changelog.write_text(dumps(Changelog({"mode": "calm", "api_key": "sk-verysecret"}, [])))
    write_status(run, Status.running_here(attempt=1, slot="0").end("done", exit_code=0, reason=None))
    run.log.write_text("logged in with sk-verysecret\n")
    return tmp_path / "root"


def rendered(app: Any) -> str:
    """Return all that a notebook would be sent of it."""
    from bokeh.document import Document

    document = Document()
    document.add_root(app.__panel__().get_root())
    return str(document.to_json())


def with_app(root: Path, use: Any, **options: Any) -> Any:
    """Use an app inside a running loop, as a notebook's kernel has one."""

    async def show() -> Any:
        import trainctl

        app = trainctl.panel_app(root, **options)
        try:
            return use(app)
        finally:
            app.close()

    return asyncio.run(show())


def test_notebook_shows_the_runs_and_one_of_them_without_secrets(root: Path) -> None:
    def one_run(app: Any) -> str:
        app.show("Lr_0.1")
        return rendered(app)

    every, one = with_app(root, rendered), with_app(root, one_run)
    assert "Lr_0.1" in every
    assert "calm" in one
    assert "•••" in one
    assert "sk-verysecret" not in every + one
    assert "has not answered" not in every + one  # the watch over a server: there is none


@pytest.mark.parametrize(("options", "may_ask"), [({}, True), ({"may_edit": True}, True), ({"may_edit": False}, False)])
def test_notebook_may_edit_unless_it_is_told_not_to(root: Path, options: dict[str, bool], may_ask: bool) -> None:
    from trainctl.panel.pages import notebook

    seen = []
    make = notebook.RunPage

    def use(app: Any) -> None:
        notebook.RunPage = lambda *given: seen.append(make(*given)) or seen[0]
        app.show("Lr_0.1")

    try:
        with_app(root, use, **options)
    finally:
        notebook.RunPage = make
    assert seen[0]._asking.may_ask is may_ask


def test_page_that_is_left_reads_no_more(root: Path) -> None:
    def use(app: Any) -> None:
        app.show("Lr_0.1")
        assert dict(app._watcher._open) == {"Lr_0.1": 1}
        app.show("all runs")
        assert dict(app._watcher._open) == {}

    with_app(root, use)


def test_directory_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    import trainctl

    with pytest.raises(RunDirError, match=r"nowhere' is not a directory; name the one that holds your runs"):
        trainctl.panel_app(tmp_path / "nowhere")
