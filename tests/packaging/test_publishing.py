"""What a repository is published with: it names one version, and its workflow and templates are what the hosts read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

import trainctl

ROOT = Path(__file__).resolve().parents[2]


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def test_one_version_everywhere() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert re.findall(r'^version = "(.*)"', project, re.MULTILINE) == [trainctl.__version__]
    assert read("CITATION.cff")["version"] == trainctl.__version__


def test_workflow_checks_each_supported_python() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    job = read(".github/workflows/ci.yml")["jobs"]["check"]
    assert job["strategy"]["matrix"]["python"] == re.findall(r"Python :: (3\.\d+)", project)
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make check"]


def test_templates_and_hooks_are_read() -> None:
    for name in ("bug", "idea"):
        assert {"name", "description", "body"} <= set(read(f".github/ISSUE_TEMPLATE/{name}.yml"))
    hooks = read(".pre-commit-config.yaml")["repos"][0]["hooks"]
    assert all({"id", "name", "entry", "language"} <= set(hook) for hook in hooks)


def test_security_policy_leads_to_what_is_promised() -> None:
    assert "docs/security.md" in (ROOT / "SECURITY.md").read_text()
