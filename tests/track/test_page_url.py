"""The page's address that trackers get leads to the run."""

from __future__ import annotations

from pathlib import Path
from urllib.request import Request, urlopen

from trainctl.config.settings import PanelSettings
from trainctl.panel.server import handle as process
from trainctl.rundir.paths import RunDir
from trainctl.track.facts import page_url


def test_address_for_trackers_opens_the_page_of_the_run_and_holds_no_token(tmp_path: Path) -> None:
    run = RunDir.at(tmp_path / "root" / "a b")
    run.create()
    handle = process.ensure(tmp_path / "root", PanelSettings(keep_min=0))
    assert handle is not None
    try:
        url, token = page_url(run), handle.url.rpartition("=")[2]
        assert url is not None
        assert token not in url
        with urlopen(Request(url, headers={"Authorization": f"Bearer {token}"}), timeout=120) as answer:
            assert answer.status == 200
    finally:
        handle.close()
