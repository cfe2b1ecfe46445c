"""`hydra.launcher.dry_run=true`: show what a sweep would do, without doing it."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, open_dict, read_write

from trainctl.attempt.attempt import describe
from trainctl.compose.job import JobSpec, SweepContext, compose_job
from trainctl.launch.local.claim import Claim, can_be_equal, claim_of
from trainctl.rundir.provenance import code_change, relative_to
from trainctl.rundir.status import read_status, seen_of
from trainctl.text import clean_line


class Preview:
    """Lists jobs instead of running them.

    Hydra's own sweeper writes `multirun.yaml` into the sweep dir before it launches anything, so it is shown another.
    """

    def __init__(self, config: DictConfig) -> None:
        self._decoy = Path(tempfile.mkdtemp(prefix="trainctl-dry-run-"))
        with read_write(config.hydra.sweep), open_dict(config.hydra.sweep):
            config.hydra.sweep.dir = str(self._decoy)

    def show(self, context: SweepContext, specs: Sequence[JobSpec]) -> list[JobReturn]:
        """Print a line per job: what would happen, where, and why; return a JobReturn without a value for each."""
        equal: dict[str, Path] = {}
        try:
            for position, spec in enumerate(specs):
                line = _line(context, spec, equal)
                sys.stdout.write(f"{position + 1:>{len(str(len(specs)))}}/{len(specs)}  {line}\n")
        finally:
            shutil.rmtree(self._decoy, ignore_errors=True)
        return [JobReturn(overrides=spec.texts, status=JobStatus.COMPLETED) for spec in specs]


def _line(context: SweepContext, spec: JobSpec, equal: dict[str, Path]) -> str:
    """Return the line of a job; `equal` has the run dirs of the jobs before it, by identity."""
    overrides = " ".join(spec.texts)
    try:
        job = compose_job(context, spec)
        if can_be_equal(job) and job.identity.text in equal:
            return f"skip   {overrides}  (same as {relative_to(equal[job.identity.text], Path.cwd())})"
        claim = claim_of(job)
        equal[job.identity.text] = claim.run.path
        lines = job.hooks.describe(job.config, claim.run)
    except Exception as error:  # noqa: BLE001  # whatever stands in a job's way is what the preview is to show
        return f"fail   {overrides}  ({describe(error)})"
    verb, why = _verdict(claim, spec.rerun)
    line = f"{verb:<6} {relative_to(claim.run.path, Path.cwd())}  {overrides}  ({why})"
    return "\n".join([line, *(f"       {each}" for each in lines)])


def _verdict(claim: Claim, rerun: str) -> tuple[str, str]:
    status = read_status(claim.run)
    if claim.state == "busy":
        return "wait", "is being run by another process"
    if claim.state == "done":
        done = f"stopped {status.reason}" if status is not None and status.state == "stopped" else "done"
        if rerun == "all":
            return "again", f"{done}, and rerun=all"
        change = code_change(claim.run)
        return "skip", f"{done}; {change}" if change else done
    if claim.state == "failed":
        reason = f"{status.state}: {status.reason}" if status else "failed"
        return ("skip", f"{reason}; rerun=none") if rerun == "none" else ("retry", reason)
    if status is not None and status.has_returned:
        return "run", "done, but something is left to do"
    if status is not None:
        state, _ = seen_of(claim.run)
        return "run", f"{state} in attempt {status.attempt}"
    return "run", f"new; {clean_line(claim.passed)}" if claim.passed else "new"
