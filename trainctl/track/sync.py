"""Sending a run to its trackers from its files, now: `python -m trainctl.track.sync RUN_DIR TRACKER`."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from trainctl.errors import SettingError, TrainctlError
from trainctl.rundir.paths import RunDir
from trainctl.track.facts import Told
from trainctl.track.feed import Feed, Sent, check
from trainctl.track.tracker import said


@dataclass(frozen=True, slots=True)
class Synced:
    """The result for one tracker.

    Attributes:
        problem: why not all was sent; None when it was.
        address: where the run is found.
    """

    tracker: str
    sent: Sent
    address: str | None
    problem: str | None


def trackers_of(run: RunDir) -> list[str]:
    """Return the trackers in a run's config.

    Raises:
        ChangelogError: its changelog cannot be read. OSError: it has none.
    """
    own = Told(run).log.base.get("trainctl")
    named = own.get("track") if isinstance(own, dict) else None
    return [str(name) for name in named] if isinstance(named, list) else []


def sync(run: RunDir, names: list[str]) -> list[Synced]:
    """Send what trackers have not got yet of a run, and how it ended.

    Raises:
        SettingError: there is no such tracker, or its package is not installed; nothing was sent.
    """
    check(names)
    if not os.path.lexists(run.changelog):
        raise SettingError(f"{str(run.path)!r} has no changelog, so its config is not known; nothing was sent")
    return [_sync(run, name) for name in dict.fromkeys(names)]


def _sync(run: RunDir, name: str) -> Synced:
    feed = Feed(run, name)
    if not feed.take():
        return Synced(name, feed.sent, None, "the run itself, or another sync, is sending it now")
    address = problem = None
    try:
        if feed.is_behind():
            feed.round(is_last=True)
        address = feed.address
    except Exception as error:  # noqa: BLE001  # raised by the tracker's library; the other trackers go on
        problem = said(error)
    finally:
        feed.close()
    return Synced(name, feed.sent, address, problem)


def main() -> None:
    """Sync one run with one tracker; exit code 1 when not all was sent."""
    try:
        (done,) = sync(RunDir.at(sys.argv[1]), [sys.argv[2]])
    except TrainctlError as error:
        sys.exit(str(error))
    sys.exit(done.problem)


if __name__ == "__main__":
    main()
