"""Which jobs of a sweep were done earlier: found out before a cluster is asked for devices."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from trainctl.attempt.output import HeldOutput, open_missing_streams
from trainctl.compose.job import JobSpec, SweepContext, compose_job
from trainctl.launch.jobs import Answer
from trainctl.launch.local.answer import JobAnswer
from trainctl.launch.local.channel import Channel, ChannelClosed
from trainctl.launch.local.claim import find_or_adopt
from trainctl.launch.local.client import why_not_fork
from trainctl.rundir.job_index import JobIndex

# The rest is left to the hosts, which compose in parallel: after so many more jobs to run than done ones, or so long.
_MOST_NEW, _MOST_S = 100, 60.0

Earlier = dict[int, Answer]


def find_done(context: SweepContext, specs: Sequence[JobSpec], sweep_dir: Path) -> Earlier:
    """Return the answers of jobs that have nothing left to do, by position: those that they would give on a host.

    A child composes the jobs, so that nothing which the program's resolvers do stays in the launcher. Where the
    launcher must not be forked, nothing is found.
    """
    is_new = not JobIndex(sweep_dir).exists()
    if is_new or why_not_fork() is not None or all(spec.rerun == "all" for spec in specs):
        return {}
    open_missing_streams()
    here, there = socket.socketpair()
    pid = os.fork()
    if not pid:
        here.close()
        _tell_done(Channel(there), context, specs)
    there.close()
    channel = Channel(here)
    try:
        return dict(_hear(channel))
    finally:
        channel.close()
        os.kill(pid, signal.SIGKILL)  # a zombie at least
        os.waitpid(pid, 0)


def _hear(channel: Channel) -> Iterator[tuple[int, Answer]]:
    while True:
        try:
            (position,) = channel.receive()
            kind, *values = channel.receive()
        except ChannelClosed:
            return
        yield position, (kind, tuple(values))


def _tell_done(channel: Channel, context: SweepContext, specs: Sequence[JobSpec]) -> NoReturn:
    """Send the position of each job that is done, then its answer; end the process."""
    new, until = 0, time.monotonic() + _MOST_S
    try:
        output = HeldOutput()
        for position, spec in enumerate(specs):
            new += 1 if _answer(channel, context, position, spec, output) is None else -1
            if new > _MOST_NEW or time.monotonic() > until:
                break
    finally:
        os._exit(0)  # without a word: each job that was not told of will tell on its host what is wrong


def _answer(channel: Channel, context: SweepContext, position: int, spec: JobSpec, output: HeldOutput) -> int | None:
    try:
        job = compose_job(context, spec)
        claim = find_or_adopt(job)
    except Exception:  # noqa: BLE001  # the job will say so itself
        return None
    finally:
        output.take()
    if claim.state not in ("done", "failed") or claim.is_to_run(spec.rerun):
        return None
    channel.send(position)
    answer = JobAnswer(channel, spec, True, output)
    return answer.skipped(job, claim) if claim.state == "done" else answer.failed_earlier(claim.run)
