"""The documentation builds as a site, offline and with strict links, and the README is its first page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FROM_ELSEWHERE = re.compile(r"""(?:<script[^>]*src|<link[^>]*rel="stylesheet"[^>]*href)=["']?(?:https?:)?//""")


@pytest.mark.slow
def test_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    # a proxy that nobody answers at: what would be fetched fails
    offline = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **offline}, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    first = (tmp_path / "index.html").read_text()
    assert 'href="tutorial.html"' in first
    assert 'src="sweep.png"' in first
    assert (tmp_path / "examples" / "torch_digits.py").exists()
    assert "bind" in (tmp_path / "reference" / "python.html").read_text()
    assert [str(page) for page in tmp_path.rglob("*.html") if FROM_ELSEWHERE.search(page.read_text())] == []


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200
