"""The names of all files of a run, the contract between launcher, session, page, CLI and examiner; finding runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from trainctl.errors import RunDirError
from trainctl.rundir import files

MOST_DIRS = 10_000  # looked into without being runs, beside one more for each run that is found: about a second


def own_dir(root: Path) -> Path:
    """Return the directory for files that belong to no single run: of a sweep, a page, a table."""
    return root / ".trainctl"


@dataclass(frozen=True, slots=True)
class RunDir:
    """The directory of one run. It only knows names; readers must check whether a file exists."""

    path: Path

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> RunDir:
        """Return the run dir at `path`, made absolute (not resolved: a link stays the name a person knows)."""
        return cls(Path(os.path.abspath(path)))

    @property
    def name(self) -> str:
        return self.path.name

    def name_below(self, root: Path) -> str:
        """Return the path of the run relative to `root`, which is absolute; its name if it is `root` itself."""
        return self.name if self.path == root else self.path.relative_to(root).as_posix()

    @property
    def config(self) -> Path:
        """Hydra's own record of the composed config."""
        return self.path / ".hydra" / "config.yaml"

    @property
    def run(self) -> Path:
        """Identity, command, code and machine: what the run was started from."""
        return self.path / "run.yaml"

    @property
    def status(self) -> Path:
        return self.path / "status.yaml"

    @property
    def changelog(self) -> Path:
        return self.path / "changelog.yaml"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def inbox(self) -> Path:
        return self.path / "inbox"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def progress(self) -> Path:
        return self.path / "progress.yaml"

    @property
    def log(self) -> Path:
        return self.path / "job.log"

    @property
    def result(self) -> Path:
        return self.path / "result.yaml"

    @property
    def stop(self) -> Path:
        """The user who asked to end the run."""
        return self.path / "stop.yaml"

    @property
    def lock(self) -> Path:
        return self.path / "run.lock"

    @property
    def session_lock(self) -> Path:
        """Held by the rank with the live session if the process that began the run is not a rank itself."""
        return self.path / "session.lock"

    def remove_leftovers(self) -> None:
        """Remove temporary files of killed writers; only for the process that holds the lock."""
        rewritten = (self.run, self.status, self.result, self.changelog, self.metrics, self.progress, self.stop)
        own = {path.name for path in rewritten}
        for name in os.listdir(self.path):
            if files.leftover_of(name) in own:
                with contextlib.suppress(OSError):
                    os.unlink(self.path / name)

    def create(self) -> None:
        """Make the directory (mode 0700) and its inbox; an existing one stays as it is.

        Raises:
            RunDirError: something that is not a directory stands at that path, or it cannot be made.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)
            self.inbox.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise RunDirError(
                f"the run dir {str(self.path)!r} cannot be made: {error.strerror or error}; "
                "choose another with hydra.run.dir or hydra.sweep.dir"
            ) from error

    def is_run(self) -> bool:
        """Whether a run was ever started here, as one of its files shows."""
        return os.path.lexists(self.run) or os.path.lexists(self.status) or os.path.lexists(self.changelog)

    def shut(self) -> str | None:
        """Return why the directory cannot be entered; None if it can, or is gone."""
        try:
            os.stat(f"{self.path}/.")
        except PermissionError as error:
            return f"not readable: {error.strerror or error}"
        except OSError:
            pass  # gone, or no directory
        return None


def directories_in(path: str | os.PathLike[str]) -> list[str]:
    """List the directories that may hold runs, sorted: no links, nothing hidden, not what file systems keep for root.

    Raises:
        PermissionError: it may not be listed or entered. OSError: it is gone, or cannot be read.
    """
    os.stat(os.path.join(path, "."))  # one that may be listed only shows names that lead nowhere
    with os.scandir(path) as entries:
        return sorted(each.name for each in entries if _may_hold_runs(each))


def _may_hold_runs(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and entry.name != "lost+found" and entry.is_dir(follow_symlinks=False)


@dataclass(frozen=True, slots=True)
class Listed:
    """The content of a path: a run, or the names of its directories, or that it may not be read."""

    run: RunDir | None = None
    inside: list[str] = field(default_factory=list)
    is_shut: bool = False


@dataclass(slots=True)
class FoundRuns:
    """The result of a search.

    Attributes:
        runs: sorted by path.
        passed_over: unreadable directories in which no run is known.
        beyond: directories that were not searched, because too many before them were not runs.
    """

    runs: list[RunDir] = field(default_factory=list)
    passed_over: list[Path] = field(default_factory=list)
    beyond: list[Path] = field(default_factory=list)


Look = Callable[[str, bool], Listed]  # a path, and whether the directories in it are wanted, should it not be a run


def search(root: Path, look: Look) -> FoundRuns:
    """Find the runs at and below `root`, breadth first; directories inside a run are not searched.

    An unreadable directory counts as a run if a directory beside it is one.
    """
    found, shut = FoundRuns(), []
    level, left = [os.path.abspath(root)], MOST_DIRS
    while level:
        below: list[str] = []
        for path in level:
            listed = look(path, left > 0) if left > -9 * MOST_DIRS else Listed()
            if listed.run is not None:
                found.runs.append(listed.run)
                left += 1
                continue
            if listed.is_shut:
                shut.append(Path(path))
            elif left <= 0:
                found.beyond.append(Path(path))
            left -= 1
            below += [os.path.join(path, name) for name in listed.inside]
        level = below
    parents = {run.path.parent for run in found.runs}
    found.passed_over = [path for path in shut if path.parent not in parents]
    found.runs += [RunDir(path) for path in shut if path.parent in parents]
    found.runs.sort(key=lambda run: run.path.parts)
    return found


def list_at(path: str, is_listed: bool = True) -> Listed:
    """Return the present content of a path; without the names in it if they are not wanted."""
    run = RunDir(Path(path))
    if run.is_run():
        return Listed(run)
    if not is_listed:
        return Listed()
    try:
        return Listed(inside=directories_in(path))
    except PermissionError:
        return Listed(is_shut=True)
    except OSError:
        return Listed()  # gone: nothing to list


def find_runs(root: Path) -> list[RunDir]:
    """List the run dirs at or below a directory, sorted by path; see `search`."""
    return search(root, list_at).runs
