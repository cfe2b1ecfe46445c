"""Where the page is: printed with the line for ssh, shown in a browser, told by `trainctl ls` and to trackers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from task_app import Task

from trainctl.config.settings import PanelSettings
from trainctl.panel.server import handle as process
from trainctl.panel.server.handle import url_of
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import Status, write_status

LS = [sys.executable, "-c", "from trainctl.cli import main; main()", "ls"]


def make_run(path: Path) -> RunDir:
    run = RunDir.at(path)
    run.create()
    files.write_yaml(run.run, {"name": path.name, "overrides": []})
    write_status(run, Status.running_here(attempt=1, slot=None).end("done", exit_code=0, reason=None))
    return run


@pytest.mark.slow
def test_page_of_a_run_is_that_of_the_closest_server_above_it(tmp_path: Path) -> None:
    root = tmp_path / "outer" / "root"
    run = make_run(root / "run")
    assert url_of(run.path) is None
    outer, inner = (process.ensure(path, PanelSettings(keep_min=0)) for path in (tmp_path / "outer", root))
    assert outer is not None
    assert inner is not None
    try:
        assert url_of(run.path, token=True) == inner.url
        assert url_of(root.parent, token=True) == outer.url
        told = url_of(run.path)
        assert told is not None
        assert inner.url.startswith(f"{told}?token=")
        done = subprocess.run([*LS, str(tmp_path)], capture_output=True, text=True, timeout=120, check=True)
        assert f"page: {inner.url}\n" in done.stderr.replace("\n ", "")
        assert inner.url not in done.stdout  # the table is what is piped on
        done = subprocess.run([*LS, str(tmp_path), "--json"], capture_output=True, text=True, timeout=120, check=True)
        assert [record["page"] for record in json.loads(done.stdout)] == [inner.url]
    finally:
        outer.close()
        inner.close()


def test_no_server_is_no_page(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    done = subprocess.run([*LS, str(tmp_path), "--json"], capture_output=True, text=True, timeout=120, check=True)
    assert [record["page"] for record in json.loads(done.stdout)] == [None]


def test_link_put_down_by_somebody_else_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = process.ensure(tmp_path, PanelSettings(keep_min=0))
    assert handle is not None
    try:
        assert url_of(tmp_path) is not None
        own = os.geteuid()
        monkeypatch.setattr("trainctl.panel.server.state.os.geteuid", lambda: own + 1)
        assert url_of(tmp_path) is None
    finally:
        monkeypatch.undo()
        handle.close()


def test_line_for_ssh_is_printed_as_it_is_to_be_typed(task: Task) -> None:
    origin = {"SSH_CONNECTION": "10.0.0.9 50000 10.0.0.5 22", "USER": "me"}
    done = task.run("trainctl.panel.enabled=true", **origin)
    found = re.search(r"^page: (\S+)$", done.stderr, re.MULTILINE)
    assert found is not None
    port = urlsplit(found[1]).port
    line = f"to see it on the machine you came from: ssh -N -L {port}:127.0.0.1:{port} me@10.0.0.5"
    assert line in done.stderr.splitlines()


def test_page_opens_in_a_browser_without_its_token_on_the_command_line(
    task: Task, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shell = shutil.which("sh")
    browser, seen = tmp_path / "browser", tmp_path / "seen"
    keep = f'cat "${{1#file://}}" > {seen}.part; echo "$@" >> {seen}.part; mv {seen}.part {seen}'
    browser.write_text(f"#!{shell}\n{keep}\n")
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    with task.waiting("trainctl.panel.enabled=true", "trainctl.panel.open=true"):
        root = task.only_run().path.parent
        record = process.find(root)
        assert record is not None
        deadline = time.monotonic() + 240
        while not seen.exists():
            assert time.monotonic() < deadline, "no browser was opened"
            time.sleep(0.05)
        page, line = seen.read_text().strip().split("\n")
    assert f'content="0;url={record.url}"' in page
    assert unquote(line) == f"file://{root}/.trainctl/open.html"
