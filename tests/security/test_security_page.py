"""The page about security names tests that exist, and is short enough to be read."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()


def test_each_test_that_the_security_page_names_exists() -> None:
    defined = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        defined |= set(re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE))
    named = re.findall(r"`(test_\w+)`", PAGE)
    assert len(named) >= 30
    assert sorted(set(named) - defined) == []


def test_security_page_is_short_and_linked() -> None:
    assert len(PAGE.splitlines()) <= 150
    assert "docs/security.md" in (ROOT / "README.md").read_text()
