"""What the page knows of one run: its row, and for an open run page its config, keys, edits and requests.

Also the edits that are still to come in a replay.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainctl.config import keys
from trainctl.config.changelog import Changelog
from trainctl.config.controls import Key
from trainctl.config.masking import WHY, Masking, patterns_of
from trainctl.errors import ChangelogError, TrainctlError
from trainctl.panel.data.curves import Curves
from trainctl.rundir import events, files
from trainctl.rundir.edits import read_changelog
from trainctl.rundir.events import Event
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import state_of
from trainctl.rundir.summary import Summary, read_record, summarize
from trainctl.session.replay import refusal
from trainctl.session.schedule import plan, read_replay


@dataclass(frozen=True, slots=True)
class Ahead:
    """One edit to come."""

    step: int
    values: dict[str, Any]
    source: str


def edits_ahead(log: Changelog, cwd: Any, now: int | None, masking: Masking) -> list[Ahead]:
    """Return the replayed edits after step `now`, secrets masked; none when the run replays nothing that is there."""
    settings = log.base.get("trainctl")
    source = settings.get("replay") if isinstance(settings, Mapping) else None
    if not isinstance(source, str) or not isinstance(settings, Mapping):
        return []
    mode = str(settings.get("replay_mode", "refuse"))
    try:
        replay = read_replay(Path(str(cwd or ".")) / Path(source).expanduser())
        left = plan(log, "", replay, source, mode=mode).left
    except (ChangelogError, OSError, RuntimeError):
        return []  # moved since: the run has read it, the page cannot
    return [
        Ahead(one.step, masking.values(one.edit.values), source)
        for one in left
        if not one.is_recorded and one.step > (now or 0)
    ]


log = logging.getLogger("trainctl.panel")

Signature = tuple[tuple[int, int, int] | None, ...]

LOOKS = 10  # of so many looks at a run that has ended, one is at all its files: some file systems tell times late
SKETCH_POINTS = 1000  # of a run that is one line among many: half of what there may be
SETTLED_S = 2.0  # a directory changed less long ago may change again within one tick of its file system's clock


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run in the table. `seen` is when it last wrote something, so that its age can go on while nothing is read."""

    summary: Summary
    seen: float | None

    @classmethod
    def of(cls, run: RunDir) -> RunRow:
        """Read a run's row."""
        summary = summarize(run)
        return cls(summary, None if summary.age_s is None else time.time() - summary.age_s)


@dataclass(frozen=True, slots=True)
class RunView:
    """The content of a run's files at one moment, secrets masked.

    Attributes:
        actions: what can be asked of it, by name, as `run.yaml` says.
        ahead: what a replay will still change.
        problem: says in a sentence why the values cannot be shown.
        refusal: says in a sentence why no edit is taken though the values are shown: it replays another run.
        is_shut: its inbox is not the server's to write.
    """

    row: RunRow
    values: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    changelog: Changelog | None = None
    events: list[Event] = field(default_factory=list)
    actions: dict[str, dict[str, Any]] = field(default_factory=dict)
    ahead: list[Ahead] = field(default_factory=list)
    masking: Masking = field(default_factory=lambda: Masking({}))
    problem: str | None = None
    refusal: str | None = None
    is_shut: bool = False

    @property
    def is_editable(self) -> bool:
        """Whether an edit could be asked for: the run trains, and its task takes edits."""
        return self.row.summary.is_alive and bool(self.keys) and self.refusal is None and not self.is_shut

    def is_like(self, other: RunView) -> bool:
        """Whether both come from the same changelog and requests in the same state: only the row differs."""
        same_files = self.values is other.values and self.events is other.events
        now, then = self.row.summary, other.row.summary
        return same_files and (now.state, now.looks) == (then.state, then.looks)


class RunFiles:
    """Reads one run's files again only after they have changed; shared by all browsers, one thread at a time."""

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self.curves = Curves(run)
        self.sketch = Curves(run, SKETCH_POINTS)
        self._sketched: RunRow | None = None
        self._row_signature: Signature | None = None
        self._view_signature: Signature | None = None
        self._row: RunRow | None = None
        self._view: RunView | None = None
        self._folder: int | None = None
        self._looks = hash(run.path) % LOOKS

    def row(self) -> RunRow:
        """Return the run's row. A kill changes no file, so the lock of a running run is tested each time.

        A run that does not run changes only when a file is replaced, which changes the time of its directory.
        """
        row, changed = self._row, self._folder_changed()
        if row is None or row.summary.is_alive or changed != self._folder or self._looks == 0:
            row = self._read_row()
            self._folder = changed if changed and time.time_ns() - changed > SETTLED_S * 1e9 else None
        self._looks = (self._looks + 1) % LOOKS
        return row

    def _folder_changed(self) -> int:
        try:
            return os.stat(self.run.path).st_mtime_ns
        except OSError:
            return 0

    def _read_row(self) -> RunRow:
        run = self.run
        seen = signature(run.status, run.run, run.progress, run.metrics, run.changelog, run.result)
        row = self._row
        if row is None or seen != self._row_signature or (row.summary.is_alive and row.summary.state != state_of(run)):
            row = self._row = RunRow.of(run)
            self._row_signature = seen
        return row

    def view(self) -> RunView:
        """Return all that an open page shows."""
        run = self.run
        row = self.row()
        # requests before the changelog: what an event says was applied is then in the changelog that is read
        seen = signature(run.events, run.changelog, run.run)
        if self._view is None or seen != self._view_signature:
            self._view = _view_of(row)
            self._view_signature = seen
        elif self._view.row is not row:
            self._view = dataclasses.replace(self._view, row=row)
        return self._view

    def look_at_sketch(self) -> None:
        """Read what the run has logged since; nothing of one that has ended, once all of it was read."""
        row = self._row
        if row is None or row is not self._sketched or row.summary.is_alive:
            self.sketch.look()
            self._sketched = row if self.sketch.is_read else None

    def forget_sketch(self) -> None:
        """Free what only a page of many runs needs."""
        self.sketch, self._sketched = Curves(self.run, SKETCH_POINTS), None

    def forget(self) -> None:
        """Free what only an open page needs."""
        self.curves = Curves(self.run)
        self._view = self._view_signature = None


def _view_of(row: RunRow) -> RunView:
    """Read what an open page shows. Never raises: what cannot be read is the view's problem, with its reason."""
    try:
        return read_view(row, events.read_events(row.summary.run))
    except TrainctlError as error:
        return RunView(row, problem=f"the values cannot be shown: {error}")
    except Exception as error:  # no unforeseen kind of file may end the page
        log.exception("%s could not be read", row.summary.run.path)
        return RunView(row, problem=f"the values cannot be shown: {type(error).__name__}: {error}"[:300])


def read_view(row: RunRow, requests: list[Event]) -> RunView:
    """Read a run's changelog, keys and actions."""
    run = row.summary.run
    try:
        recorded = read_changelog(run)
    except ChangelogError as error:
        return RunView(row, events=requests, problem=f"the values cannot be shown: {error}")
    if recorded is None:
        config = files.read_mapping(run.config)
        masking = Masking(config, patterns_of(config))
        problem = "this run has no changelog: its task has not called trainctl.live(cfg), so nothing can be edited"
        return RunView(row, masking.values(keys.leaves(config)), events=requests, masking=masking, problem=problem)
    record = read_record(run, "keys", "actions", "cwd")
    masking = Masking(recorded.base, patterns_of(recorded.base))
    masking.learn_edits(recorded)
    known = _known(record.get("keys"), masking, recorded.at(recorded.last_step))
    masked = _masked(recorded, masking)
    now = masked.at(masked.last_step)
    values = {key: value_at(now, key) for key in known} if known else keys.leaves(now)
    actions = record.get("actions")
    return RunView(
        row,
        values,
        known,
        masked,
        [_masked_event(event, masking) for event in requests],
        _mappings(actions),
        edits_ahead(recorded, record.get("cwd"), row.summary.step, masking),
        masking,
        None if known else "this run takes no edits",
        _refusal(recorded.base.get("trainctl")),
        not os.access(run.inbox, os.W_OK | os.X_OK),
    )


def _refusal(settings: Any) -> str | None:
    source = settings.get("replay") if isinstance(settings, Mapping) else None
    return refusal(source, str(settings.get("replay_mode", "refuse"))) if isinstance(source, str) else None


def _known(controls: Any, masking: Masking, now: Mapping[str, Any]) -> dict[str, Key]:
    """Return the keys of a run; the secret ones are locked, since nobody can change well what is not shown."""
    known = {key: Key.from_dict(record) for key, record in _mappings(controls).items()}
    return {
        key: dataclasses.replace(spec, locked=WHY, choices=None) if masking.conceals(key, value_at(now, key)) else spec
        for key, spec in known.items()
    }


def _mappings(records: Any) -> dict[str, dict[str, Any]]:
    """Return the values that are mappings; the file is outside input."""
    found = records.items() if isinstance(records, dict) else ()
    return {str(name): record or {} for name, record in found if isinstance(record, dict | None)}


def _masked(log: Changelog, masking: Masking) -> Changelog:
    return dataclasses.replace(log, base=masking.nested(log.base), edits=[masking.edit(edit) for edit in log.edits])


def _masked_event(event: Event, masking: Masking) -> Event:
    """Return an event without secrets: in what it asks for, in its note, and in the reason of a refusal."""
    return dataclasses.replace(
        event,
        edits=masking.values(event.edits) if event.edits else event.edits,
        arguments=masking.values(event.arguments) if event.arguments else event.arguments,
        note=masking.text(event.note) if isinstance(event.note, str) else event.note,
        reason=masking.text(event.reason) if isinstance(event.reason, str) else event.reason,
    )


def value_at(config: Any, key: str) -> Any:
    """Return the value of a dotted key in nested mappings; None where there is none."""
    for part in keys.split(key):
        if not isinstance(config, dict):
            return None
        try:
            config = config[keys.find(config, part)]
        except KeyError:
            return None
    return config


def signature(*paths: Path) -> Signature:
    """Return inode, size and modification time of each file, None for a missing one, to tell whether any changed."""
    found: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            stat = os.stat(path)
        except OSError:
            found.append(None)
        else:
            found.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return tuple(found)
