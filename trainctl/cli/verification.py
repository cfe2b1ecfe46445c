"""`trainctl replay --verify`: run a recorded run again, and say whether it is the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Collection, Sequence
from typing import Any

from trainctl import text
from trainctl.cli import terminal
from trainctl.cli.place import shown
from trainctl.config.overrides import quoted
from trainctl.rundir import files
from trainctl.rundir.compare import Comparison, compare
from trainctl.rundir.paths import RunDir, own_dir
from trainctl.rundir.provenance import THREADS, differences
from trainctl.rundir.result import read_result
from trainctl.rundir.status import seen_of, state_of
from trainctl.rundir.summary import summarize


def verify(run: RunDir, command: Sequence[str], cwd: str, ignore: Collection[str]) -> int:
    """Repeat a run that is done, print the comparison, and return the exit code.

    The repetition lies in `.trainctl/verify/` beside the run, where no table lists it, and stays there.
    """
    if not _has_returned(run):
        return terminal.complain(
            f"{shown(run)} is {state_of(run)}; only a run that has returned its value can be verified"
        )
    again = _new_dir(run)
    record = files.read_mapping(run.run)
    settings = ["++trainctl.panel.enabled=false", f"hydra.run.dir={quoted(str(again.path))}"]
    # what it prints is not our answer
    done = subprocess.run([*command, *settings], cwd=cwd, env=_environment(record), stdout=sys.stderr, check=False)
    if done.returncode != 0 or not _has_returned(again):
        reason = summarize(again).reason or f"exit code {done.returncode}"
        return terminal.complain(f"the repetition failed: {reason}; it lies in {shown(again)}")
    verdict = compare(run, again, ignore)
    if verdict.difference is None:
        terminal.print_line(f"identical: {_identical(run, verdict)}")
        return 0
    terminal.print_line(f"not the same run; the first difference: {verdict.difference}")
    facts = differences(record, files.read_mapping(again.run))
    for fact in facts or ["nothing that is recorded of code, packages and machine differs"]:
        terminal.print_line(f"  {fact}")
    terminal.print_line(f"the repetition lies in {shown(again)}")
    return 1


def _has_returned(run: RunDir) -> bool:
    _, status = seen_of(run)
    return status is not None and status.has_returned


def _identical(run: RunDir, verdict: Comparison) -> str:
    parts = [f"{verdict.records:,} metric records"]
    if verdict.fingerprint is not None:
        parts.append(f"weights hash {verdict.fingerprint}")
    value = read_result(run)
    if value is not None:
        parts.append(f"return value {text.value(value, exact=True)}")
    return ", ".join(parts)


def _environment(record: dict[str, Any]) -> dict[str, str]:
    """Return the environment with the recorded sizes of thread pools, since sums of floats depend on them."""
    recorded = record.get("environment")
    threads = recorded.get("threads") if isinstance(recorded, dict) else None
    known = threads if isinstance(threads, dict) else {}
    return {**os.environ, **{name: str(known[name]) for name in THREADS if name in known}}


def _new_dir(run: RunDir) -> RunDir:
    number = 1
    plain = re.sub(r"[^\w.=,+-]", "_", run.name)  # Hydra would read ${…} in the name of a run dir
    while True:
        name = plain if number == 1 else f"{plain}.{number}"
        found = RunDir.at(own_dir(run.path.parent) / "verify" / name)
        if not found.path.exists():
            return found
        number += 1
