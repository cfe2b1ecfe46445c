"""The names of all files of a run: the one contract between launcher, live session, page, CLI and examiner."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from trainctl.errors import RunDirError
from trainctl.run import files


@dataclass(frozen=True, slots=True)
class RunDir:
    """The directory of one run. Knows names only; whether a file is there is the reader's question."""

    path: Path

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> RunDir:
        """Return the run dir at `path`, made absolute (not resolved: a link stays the name a person knows)."""
        return cls(Path(os.path.abspath(path)))

    @property
    def name(self) -> str:
        return self.path.name

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
        """Who asked that the run be ended."""
        return self.path / "stop.yaml"

    @property
    def lock(self) -> Path:
        return self.path / "run.lock"

    @property
    def session_lock(self) -> Path:
        """Held by the rank that has the live session where the process that began the run is no rank."""
        return self.path / "session.lock"

    def remove_leftovers(self) -> None:
        """Remove what writers that were killed left half-written; for the process that holds the lock."""
        rewritten = (self.run, self.status, self.result, self.changelog, self.metrics, self.progress, self.stop)
        own = {path.name for path in rewritten}
        for name in os.listdir(self.path):
            if files.leftover_of(name) in own:
                with contextlib.suppress(OSError):
                    os.unlink(self.path / name)

    def create(self) -> None:
        """Make the directory (mode 0700) and its inbox; one that is there is kept as it is.

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
        """Say whether a run was ever started here."""
        return self.run.is_file() or self.status.is_file() or self.changelog.is_file()


def find_runs(root: Path, depth: int = 4) -> list[RunDir]:
    """List the run dirs at or below `root`, sorted by path; directories inside a run dir are not looked into."""
    found: list[RunDir] = []

    def look(path: Path, left: int) -> None:
        run = RunDir.at(path)
        if run.is_run():
            found.append(run)
            return
        if left == 0:
            return
        try:
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError:
            return  # unreadable or gone: nothing of ours to list
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                look(Path(entry.path), left - 1)

    look(root, depth)
    return found
