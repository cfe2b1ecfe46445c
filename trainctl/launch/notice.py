"""Asking a job for a checkpoint before its host is taken away, so that it can go on elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from trainctl.errors import TrainctlError
from trainctl.rundir.events import latest, read_events
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a checkpoint, filed in a run."""

    run: RunDir
    id: str

    def is_over(self) -> bool:
        """Whether the checkpoint was taken, or never will be."""
        try:
            event = latest(read_events(self.run)).get(self.id)
        except TrainctlError:
            return True
        return event is not None and (event.state == "rejected" or event.done is not None or bool(event.settled))


def ask_for_checkpoint(run: RunDir, who: str) -> Asked | None:
    """Ask a run for a checkpoint; None if it takes no requests."""
    try:
        return Asked(run, file_request(run, {}, who=who, via="launcher", action="checkpoint"))
    except TrainctlError:
        return None
