"""Actions that are done again: by a replay of the run, and by a further attempt of it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from trainctl.run.events import Event, read_events
from trainctl.run.rundir import RunDir
from trainctl.run.schedule import Repeat
from trainctl.run.status import read_status

_OF_THE_MOMENT = ("pause", "resume")  # they change nothing that is recorded
_PREFIX = "replay-"


def own_repeats(run: RunDir) -> list[Repeat]:
    """Return what earlier attempts of a run did, but for `stop`: who starts it once more wants it to go on."""
    return _repeats(read_events(run), str(run.events), ("stop",), is_recorded=True)


def replayed_repeats(path: Path, own: Collection[Repeat]) -> list[Repeat]:
    """Return what the run at `path` did, its `stop` only if that is how its last attempt ended; a file has edits only.

    What an earlier attempt of ours has done already is left out.
    """
    if not path.is_dir():
        return []
    run = RunDir.at(path)
    status, known = read_status(run), {one.id for one in own}
    began = status.started if status is not None and status.started is not None else 0.0
    events = [event for event in read_events(run) if event.action != "stop" or event.t >= began]
    found = _repeats(events, f"the replayed {path}", (), is_recorded=False)
    return [one for one in found if one.id not in known]


def _repeats(events: list[Event], source: str, leave_out: Collection[str], *, is_recorded: bool) -> list[Repeat]:
    prefix = "" if is_recorded else _PREFIX
    return [
        Repeat(
            event.step, prefix + event.id.removeprefix(prefix), event.action, event.arguments or {}, source, is_recorded
        )
        for event in events
        if event.state == "applied" and event.action is not None and event.step is not None
        if event.action not in (*_OF_THE_MOMENT, *leave_out)
    ]
