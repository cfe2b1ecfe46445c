"""Output directories of mlrunner: `param` holds the parameters, `stat` what became of each command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml as pyyaml

from trainctl.config import yaml
from trainctl.config.keys import leaves
from trainctl.run.status import State


def is_output(path: Path) -> bool:
    """Say whether mlrunner made this directory, and no run of ours is there."""
    return (path / "param").is_file() and not (path / "run.yaml").exists() and not (path / "status.yaml").exists()


def read_output(path: Path) -> tuple[State, str | None, dict[str, Any]]:
    """Return state, reason and parameters; mlrunner's own entries, which begin with `_`, are left out."""
    params, stat = _mapping(path / "param"), _mapping(path / "stat")
    own = {key: value for key, value in params.items() if not str(key).startswith("_")}
    open_ends = [f"{command}: {state}" for command, state in stat.items() if state != "finished"]
    scripts = params.get("_scripts")
    missing = [str(command) for command in scripts if command not in stat] if isinstance(scripts, dict) else []
    if open_ends:
        return (
            ("failed" if any("fail" in end for end in open_ends) else "interrupted"),
            ", ".join(open_ends),
            leaves(own),
        )
    if not stat:
        return "queued", None, leaves(own)
    if missing:
        return "interrupted", f"not run: {', '.join(missing)}", leaves(own)
    return "done", None, leaves(own)


def _mapping(path: Path) -> dict[str, Any]:
    try:
        found = yaml.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, pyyaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}
