"""The answer of a job to its launcher, and the end of its run: done, failed, skipped, or same as another job."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus

from trainctl.attempt.attempt import Attempt, describe
from trainctl.attempt.output import HeldOutput
from trainctl.compose._hydra import outcome_of
from trainctl.compose.job import ComposedJob, JobSpec, skipped_return
from trainctl.errors import CommandError, JobError
from trainctl.launch.failure import Failure, cause_of, full_text, last_frame, short_text
from trainctl.launch.local.channel import Channel, ChannelClosed
from trainctl.launch.local.claim import Claim
from trainctl.launch.returns import failed_return, pack_config, pack_return
from trainctl.rundir.paths import RunDir
from trainctl.rundir.provenance import code_change, original_cwd
from trainctl.rundir.result import stored_result
from trainctl.rundir.status import Status, read_status

log = logging.getLogger(__name__)


class JobAnswer:
    """Tells the launcher the outcome of one job; each method that ends it returns the exit code of the process.

    Args:
        channel: to the launcher.
        spec: of the job.
        forked: the process was forked from the launcher, so the launcher knows the classes of what the job returns.
        output: the job's output before it has a log.
    """

    def __init__(self, channel: Channel, spec: JobSpec, forked: bool, output: HeldOutput) -> None:
        self._channel = channel
        self._spec = spec
        self._forked = forked
        self._output = output
        self._hydra_config: bytes | None = None

    def keep_hydra_config(self) -> None:
        """Pack Hydra's config, of which Hydra gives back a copy, while the job waits for its slot."""
        self._hydra_config = pack_config(HydraConfig.instance().cfg)

    def not_begun(self, obstacle: Exception) -> int:
        """Answer that the job could not begin."""
        return self.failed(failed_return(self._spec.texts, obstacle), Failure("error", describe(obstacle)))

    def same(self, claim: Claim) -> int:
        """Answer that an equal job of this `launch()` has the run dir."""
        tell_output(self._output, self._channel)
        self._channel.send("same", claim.equal, str(claim.run.path))
        return 0

    def skipped(self, job: ComposedJob, claim: Claim) -> int:
        """Answer with the stored value of a run that is done."""
        run = claim.run
        stored = stored_result(run)
        packed = pack_return(skipped_return(job, run.path, stored.value), self._forked)
        values = str(run.path), stored.loss, packed, code_change(run), claim.is_shared, _stopped(read_status(run))
        tell_output(self._output, self._channel)
        self._channel.send("skipped", *values)
        return 0

    def failed_earlier(self, run: RunDir) -> int:
        """Answer with the failure of an earlier attempt, which is not retried."""
        status = read_status(run)
        reason = f"failed earlier, and rerun=none: {status.reason if status else 'nothing is known'}"
        error = JobError(f"the job {reason}; its log is {run.log}")
        return self.failed(failed_return(self._spec.texts, error, str(run.path)), Failure("error", reason))

    def failed(self, returned: JobReturn, failure: Failure) -> int:
        """Answer that the job has failed."""
        try:
            data = pack_return(returned, self._forked)
        except JobError as error:
            data = pack_return(failed_return(self._spec.texts, error), self._forked)
        tell_output(self._output, self._channel)
        self._channel.send("ended", failure, data, "")
        return 1

    def raised(self, job: ComposedJob, run: RunDir, error: BaseException) -> JobReturn:
        """Return the JobReturn of a task that has raised, or has left by `sys.exit`.

        `sys.exit()` and `sys.exit(0)` are a normal end without a value; any other code is a failure.
        """
        if not isinstance(error, SystemExit):
            return failed_return(self._spec.texts, error, str(run.path))
        if error.code in (None, 0):
            return skipped_return(job, run.path, None)
        failure = JobError(f"the job called sys.exit({error.code!r})")
        return failed_return(self._spec.texts, failure.with_traceback(error.__traceback__))

    def early(self, job: ComposedJob, attempt: Attempt) -> None:
        """Answer at `live.done(value)`: the process may end at any moment."""
        if attempt.has_ended or not attempt.is_done:
            return
        try:
            data = pack_return(skipped_return(job, attempt.run.path, attempt.value), self._forked)
        except JobError as error:
            log.warning("%s; the sweep gets None", error)
            data = pack_return(skipped_return(job, attempt.run.path, None), self._forked)
        with contextlib.suppress(ChannelClosed):
            self._channel.send("ended", None, data, _stopped(attempt.status))

    def finish(self, attempt: Attempt, returned: JobReturn, give_slot_back: Callable[[], None]) -> int:
        """End the run and answer; the slot is given back as soon as the value is known."""
        if attempt.is_done:
            return _finish_late(attempt, returned)
        if returned.status is JobStatus.COMPLETED:
            returned.return_value = attempt.outcome(outcome_of(returned))
        give_slot_back()  # or, if the live session is still open, once it is closed
        try:
            data = pack_return(returned, self._forked, self._hydra_config)
        except JobError as error:
            shown: BaseException = error.with_traceback(None)
            if returned.status is JobStatus.FAILED:  # the trace that a person needs is the one of the task
                shown = error.with_traceback(outcome_of(returned).__traceback__)
            shown.__cause__ = None
            returned = failed_return(self._spec.texts, shown, returned.working_dir)
            data = pack_return(returned, self._forked)
        if returned.status is JobStatus.COMPLETED:
            attempt.end("done", value=outcome_of(returned), exit_code=0)
            if attempt.status.has_returned:
                self._channel.send("ended", None, data, _stopped(attempt.status))
                return 0
            returned = failed_return(self._spec.texts, JobError(str(attempt.status.reason)))
            return self.failed(returned, Failure("error", str(attempt.status.reason)))
        return self._fail(attempt, returned, outcome_of(returned))

    def _fail(self, attempt: Attempt, returned: JobReturn, raised: BaseException) -> int:
        reason = describe(raised)
        sys.stderr.write(full_text(raised))
        tail = raised.output if isinstance(raised, CommandError) else short_text(raised)
        cause = "interrupted" if isinstance(raised, KeyboardInterrupt) else cause_of(raised)
        failure = Failure(cause, reason, tail, last_frame(raised, original_cwd()))
        if not isinstance(raised, Exception):  # raised in the launcher, it would look like a Ctrl-C there
            returned = failed_return(self._spec.texts, JobError(f"the job ended by {reason}"), returned.working_dir)
        attempt.end(failure.state, exit_code=1, reason=reason)
        return self.failed(returned, failure)


def _finish_late(attempt: Attempt, returned: JobReturn) -> int:
    """End a run that was answered by `live.done`; a later failure is only recorded."""
    if returned.status is JobStatus.COMPLETED:
        attempt.end("done")
    else:
        raised = outcome_of(returned)
        sys.stderr.write(full_text(raised))
        attempt.end("failed", reason=describe(raised))
    return 0


def tell_output(output: HeldOutput, channel: Channel) -> None:
    """Let the launcher print the output of a job that has no log yet."""
    if output.is_open and (printed := output.take()):
        with contextlib.suppress(ChannelClosed):
            channel.send("said", printed.decode(errors="replace"))


def _stopped(status: Status | None) -> str:
    """Return who stopped a run and at which step; empty if nobody did."""
    return (status.reason or "") if status is not None and status.state == "stopped" else ""
