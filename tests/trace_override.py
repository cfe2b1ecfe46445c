"""Print which functions of ours see the text of an override, from the sweeper to the job's process.

    python tests/trace_override.py [OVERRIDE ...]

A function sees a text when one of its variables is that text, or it returns it: alone, or in a list, set or dict.
An override that is carried parsed is not a text.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OURS = (f"{ROOT}/trainctl/", f"{ROOT}/hydra_plugins/")
TRACED, TEXTS = "TRACE_OVERRIDE_FILE", "TRACE_OVERRIDE_TEXTS"
APP = """
import hydra, trainctl

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    live = trainctl.live(cfg)
    live.step()

main()
"""
CONFIG = """
defaults: [trainctl, norm: new, override hydra/launcher: slots, override hydra/callbacks: trainctl, _self_]
trainctl: {panel: {enabled: false}}
"""
_DEPTH = 3


def trace(overrides: list[str]) -> dict[str, list[str]]:
    """Run a sweep of an app with the group `norm`, and return the functions that see a text of it, by file."""
    with tempfile.TemporaryDirectory(prefix="trace-override-") as name:
        folder = Path(name)
        (folder / "conf" / "norm").mkdir(parents=True)
        (folder / "app.py").write_text(APP)
        (folder / "conf" / "config.yaml").write_text(CONFIG)
        for option in ("new", "batch"):
            (folder / "conf" / "norm" / f"{option}.yaml").write_text(f"kind: {option}\n")
        seen = folder / "seen"
        seen.touch()
        environment = {**os.environ, TRACED: str(seen), TEXTS: "\n".join(texts_of(overrides))}
        command = [sys.executable, __file__, "--traced", "app.py", "-m", *overrides]
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL, timeout=120)
        found: dict[str, set[str]] = defaultdict(set)
        for line in seen.read_text().splitlines():
            file, function = line.split("\t")
            found[file].add(function)
    return {file: sorted(functions) for file, functions in sorted(found.items())}


def texts_of(overrides: list[str]) -> Iterator[str]:
    """Yield the overrides and those of their jobs."""
    for override in overrides:
        yield override
        key, _, values = override.partition("=")
        yield from (f"{key}={value}" for value in values.split(",") if "," in values)


def run_traced(program: str, arguments: list[str]) -> None:
    """Run a program in this process; what it forks is traced too."""
    descriptor = os.open(os.environ[TRACED], os.O_WRONLY | os.O_APPEND)
    texts = frozenset(os.environ[TEXTS].split("\n"))
    known: set[Any] = set()

    def look(frame: FrameType, event: str, returned: object) -> None:
        code = frame.f_code
        if event not in ("call", "return") or code in known or not code.co_filename.startswith(OURS):
            return
        values = [returned, *frame.f_locals.values()] if event == "return" else list(frame.f_locals.values())
        if any(_has_text(value, texts) for value in values):
            known.add(code)
            os.write(descriptor, f"{os.path.relpath(code.co_filename, ROOT)}\t{code.co_qualname}\n".encode())

    sys.argv = [program, *arguments]
    sys.setprofile(look)
    runpy.run_path(program, run_name="__main__")


def _has_text(value: Any, texts: frozenset[str], depth: int = _DEPTH) -> bool:
    if type(value) is str:
        return value in texts
    if type(value) in (list, tuple, set, frozenset, dict) and depth:
        parts = (*value, *value.values()) if isinstance(value, dict) else value
        return any(_has_text(part, texts, depth - 1) for part in parts)
    return False


if __name__ == "__main__":
    if sys.argv[1:2] == ["--traced"]:
        run_traced(sys.argv[2], sys.argv[3:])
    else:
        found = trace(sys.argv[1:] or ["norm=new,batch"])
        for file, functions in found.items():
            print(f"{file}: {', '.join(functions)}")
        print(f"{len(found)} files, {sum(map(len, found.values()))} functions")
