"""Each supported Python has exact versions of everything that development needs, and nothing of one machine's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = (ROOT / "pyproject.toml").read_text()
PYTHONS = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PROJECT)
NEEDED = re.findall(
    r'^    "([a-z-]+)[<>=]', PROJECT[PROJECT.index("\ndependencies") : PROJECT.index("\n[project.opt")], re.MULTILINE
)


def pinned(name: str) -> dict[str, str]:
    lines = (ROOT / "locks" / f"{name}.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


@pytest.mark.parametrize("kind", ["", "-hydra14", "-oldest"])
@pytest.mark.parametrize("python", PYTHONS)
def test_lock_pins_all_that_is_needed_and_nothing_for_cuda(python: str, kind: str) -> None:
    versions = pinned(python + kind)
    assert {*NEEDED, "pytest"} <= set(versions)
    assert all(re.fullmatch(r"[\w.]+", version) for version in versions.values())
    assert [name for name in versions if re.match(r"cuda|triton|nvidia", name)] == ["nvidia-ml-py"]


@pytest.mark.parametrize("python", PYTHONS)
def test_locks_differ_in_what_they_are_for(python: str) -> None:
    assert pinned(python)["torch"] == "2.13.0"
    assert pinned(python)["hydra-core"].startswith("1.3.")
    assert pinned(f"{python}-hydra14")["hydra-core"].startswith("1.4.")
    assert pinned(f"{python}-oldest")["hydra-core"] == "1.3.2"
