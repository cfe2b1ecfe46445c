"""A directory that this user may read and not write has a page all the same, which only shows and says so."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from bokeh_client import Session
from broken_runs import make_run
from disks import mount

from trainctl.attempt.host import host_dir
from trainctl.config.controls import Key
from trainctl.config.settings import PanelSettings
from trainctl.panel.data.watcher import Watcher
from trainctl.panel.server import handle as process
from trainctl.panel.server.state import PanelDir
from trainctl.panel.widgets.requests import Asking
from trainctl.rundir import files
from trainctl.rundir.lock import RunLock
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import Status, write_status


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """The runs of somebody else, one of which trains, as this user sees them."""
    theirs, seen = tmp_path / "theirs", tmp_path / "seen"
    run = make_run(theirs, "one", 0.1)
    files.write_yaml(run.run, {"name": "one", "keys": {"lr": Key("float").to_dict()}})
    lock = RunLock(run.lock)
    assert lock.acquire()
    write_status(run, Status.running_here(attempt=1, slot="0"))
    seen.mkdir()
    if os.geteuid() == 0:  # whom no mode of a directory keeps out
        mount("--bind", str(theirs), str(seen))
        try:
            mount("-o", "remount,bind,ro", str(seen))
            yield seen
        finally:
            subprocess.run(["umount", "-l", str(seen)], check=True)
    else:
        for folder, _, _ in os.walk(theirs):
            os.chmod(folder, 0o500)
        yield theirs
        for folder, _, _ in os.walk(theirs):
            os.chmod(folder, 0o700)
    lock.release()


async def shown(url: str) -> str:
    headers = {"Authorization": f"Bearer {dict(parse_qsl(urlsplit(url).query))['token']}"}
    session = await Session.open(url.partition("?")[0], "run/one", headers, follows=False)
    assert "lr" in [line["label"] for line in session.lines()]
    assert not session.is_open
    session.close()
    return session.text()


@pytest.mark.slow
def test_page_of_a_directory_that_may_not_be_written_only_shows(root: Path) -> None:
    handle = process.ensure(root, PanelSettings(keep_min=0))
    assert handle is not None
    try:
        assert handle.place.is_elsewhere
        assert handle.place.path.parent == host_dir() / "pages"
        assert handle.place.path.stat().st_mode & 0o777 == 0o700
        found = process.ensure(root, PanelSettings(keep_min=0))  # the same server, for who comes next
        assert found is not None
        assert found.url == handle.url
        found.close()
        assert f"Read only: {root}/one/inbox cannot be written" in asyncio.run(shown(handle.url))
    finally:
        handle.end()
        shutil.rmtree(handle.place.path)
    assert not list(root.glob(".trainctl"))


def test_request_for_such_a_run_is_refused_with_the_reason(root: Path) -> None:
    view = Watcher(root).view("one")
    assert view is not None
    assert not view.is_editable
    asking = Asking(may_ask=True)
    asking.ask(view, "lr", texts={"lr": "0.3"})
    assert "rejected: the run" in asking.lines()
    assert "inbox cannot be written" in asking.lines()
    assert list(RunDir.at(root / "one").inbox.iterdir()) == []


def test_own_directory_has_its_page_in_itself(tmp_path: Path) -> None:
    assert not PanelDir(tmp_path).is_elsewhere
    assert not PanelDir(tmp_path / "not" / "there" / "yet").is_elsewhere
    assert not PanelDir(tmp_path / "not" / "there").path.exists()
