"""The server's only reader of run files: one thread, which reads while a page is open, and one cache for all pages.

It keeps finding the runs below a root, and lists only the directories that have changed.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from trainctl.examine.examiner import Examiner
from trainctl.examine.row import Row
from trainctl.panel.data.curves import Curves
from trainctl.panel.data.run_view import RunFiles, RunRow, RunView
from trainctl.rundir.paths import Listed, RunDir, list_at, search
from trainctl.rundir.sweep import Memory, read_memory

SETTLED_S = 2.0  # a directory changed less long ago may change again within one tick of its file system's clock


class Search:
    """Finds what `find_runs` finds, in its order. Again, a run costs nothing, and a directory one `stat`.

    Adding to a directory or removing from it changes that directory's time, and a run dir remains one.

    Attributes:
        passed_over: the directories that may not be read, and those that were too many to be looked into.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen: dict[str, tuple[int | None, Listed]] = {}  # with the time at which it changed; None: look again
        self.passed_over: list[Path] = []

    def runs(self) -> list[RunDir]:
        """List the run dirs at or below the root."""
        before, self._seen = self._seen, {}

        def look(path: str, is_listed: bool) -> Listed:
            if not is_listed:
                return list_at(path, is_listed)
            self._seen[path] = seen = _look(path, before.get(path))
            return seen[1]

        found = search(self._root, look)
        self.passed_over = [*found.passed_over, *found.beyond]
        return found.runs


def _look(path: str, seen: tuple[int | None, Listed] | None) -> tuple[int | None, Listed]:
    if seen is not None and seen[1].run is not None:
        return seen
    try:
        changed = os.stat(path).st_mtime_ns
    except OSError:
        return None, Listed()
    if seen is not None and seen[0] == changed:
        return seen
    listed = list_at(path)
    is_settled = not listed.is_shut and time.time_ns() - changed > SETTLED_S * 1e9
    return changed if is_settled else None, listed


log = logging.getLogger("trainctl.panel")

LOOK_S = 0.2  # between two looks at runs whose page is open
ROWS_S = 1.0  # between two looks at all runs, while a table of them is open
ROWS_WAIT_S = 0.3  # a page that opens waits this long for rows, if none were read for a while
ENDED_EACH_LOOK = (
    1_000  # runs that have ended are looked at in turn: a shared disk is asked for no more of them a second
)
PIECE = 50  # runs read under one lock: a request for one run waits no longer
EXAMINED_S = 5.0  # age beyond which an examiner's rows are read again
SCAN_S = 2.0  # between two searches for new runs


class Watcher:
    """Knows the runs below a root by name, and what their open pages show.

    Runs are known by their path below the root, and only those that a search has found: a name from a URL is looked up,
    never made into a path, so no name leads anywhere else. Searches follow no links.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._search = Search(root)
        self._lock = threading.RLock()
        self._searching = threading.Lock()
        self._runs: dict[str, RunFiles] = {}
        self._rows: dict[str, RunRow] = {}
        self._views: dict[str, RunView] = {}
        self._open: Counter[str] = Counter()
        self._sketching: Counter[str] = Counter()
        self._tables = 0
        self._examined: Mapping[str, Row] | None = None
        self._examined_at = float("-inf")
        self._examining: threading.Thread | None = None
        self._left = self._turn = 0
        self._scanned = self._listed = self._sketched = float("-inf")
        self._wake = threading.Event()
        self._has_listed = threading.Event()
        self._over = self._wants_rows = False
        self._thread = threading.Thread(target=self._look_on, name="trainctl-watcher", daemon=True)

    def start(self) -> None:
        """Read all rows once, so that the first page need not wait for them; then nothing while no page is open."""
        self._thread.start()

    def close(self) -> None:
        self._over = True
        self._wake.set()

    def rows(self) -> dict[str, RunRow]:
        """Return the latest rows by name; the same mapping, or at least the same rows, where nothing has changed.

        The thread reads them, and nobody waits for it: what is new comes with the next look.
        """
        if time.monotonic() - self._listed >= ROWS_S:
            if not self._thread.is_alive():
                self._list()
            elif not self._tables:
                self._wants_rows = True
                self._wake.set()
        return self._rows

    def fresh_rows(self) -> dict[str, RunRow]:
        """Return up-to-date rows for a page that opens; of very many runs, those that can be read in a moment."""
        if time.monotonic() - self._listed >= ROWS_S and self._thread.is_alive():
            self._has_listed.clear()
            self._wants_rows = True
            self._wake.set()
            self._has_listed.wait(ROWS_WAIT_S)
        return self.rows()

    @property
    def left(self) -> int:
        """How many of the runs that were found have never been read yet."""
        return self._left

    @property
    def passed_over(self) -> list[Path]:
        """The directories that may not be read, and those that were too many to be looked into."""
        return self._search.passed_over

    def memory(self) -> Memory:
        """Return used and total MiB by slot, as far as a launcher that works in the root knows them."""
        return read_memory(self.root)

    def examined(self) -> Mapping[str, Row] | None:
        """Return what an examiner knows of each run, its config too; None while that is read for the first time."""
        is_old = time.monotonic() - self._examined_at > EXAMINED_S
        if is_old and (self._examining is None or not self._examining.is_alive()):
            self._examining = threading.Thread(target=self._examine, name="trainctl-examiner", daemon=True)
            self._examining.start()
        return self._examined

    def _examine(self) -> None:
        try:
            rows = Examiner().exam(self.root, workers=1).rows
            self._examined = {row.run.name_below(self.root): row for row in rows.values()}
        except Exception:  # as above
            log.exception("examining the runs failed")
            self._examined = self._examined or {}
        self._examined_at = time.monotonic()

    def view(self, name: str) -> RunView | None:
        """Return what is known of one run; None when there is none of that name."""
        if name not in self._runs:
            self._scan(0.0)
        with self._lock:
            if name not in self._views:
                if name not in self._runs:
                    return None
                self._views[name] = self._runs[name].view()
            return self._views[name]

    def fresh_view(self, name: str) -> RunView | None:
        """Return what is known of a run now, for a page that does not watch it all the time."""
        with self._lock:
            found = self._runs.get(name)
            return found.view() if found is not None else None

    def curves(self, name: str) -> Curves | None:
        """Return what a run has logged, by step; fresh while its view or its curves are watched."""
        with self._lock:
            found = self._runs.get(name)
            return found.curves if found is not None else None

    @contextmanager
    def watching_rows(self) -> Iterator[None]:
        """Keep the rows fresh for as long as the context lasts."""
        self._tables += 1
        self._wake.set()
        try:
            yield
        finally:
            self._tables -= 1

    @contextmanager
    def watching(self, name: str) -> Iterator[None]:
        """Keep one run's view fresh for as long as the context lasts."""
        with self._lock:
            self._open[name] += 1
        self._wake.set()
        try:
            yield
        finally:
            with self._lock:
                self._open[name] -= 1
                if not self._open[name]:
                    del self._open[name]
                    self._views.pop(name, None)
                    if name in self._runs:
                        self._runs[name].forget()

    def sketch(self, name: str) -> Curves | None:
        """Return what a run has logged, by step, in fewer points; fresh while it is sketched."""
        with self._lock:
            found = self._runs.get(name)
            return found.sketch if found is not None else None

    @contextmanager
    def sketching(self, names: Iterable[str]) -> Iterator[None]:
        """Keep the sketches of runs fresh for as long as the context lasts."""
        names = list(names)
        with self._lock:
            self._sketching.update(names)
            self._sketched = float("-inf")
        self._wake.set()
        try:
            yield
        finally:
            with self._lock:
                self._sketching.subtract(names)
                for name in names:
                    if not self._sketching[name]:
                        del self._sketching[name]
                        if name in self._runs:
                            self._runs[name].forget_sketch()

    def _look_on(self) -> None:
        self._try(self._list)
        while not self._over:
            if not self._open and not self._tables and not self._wants_rows:
                self._wake.wait()
            self._wake.clear()
            self._try(self._look)
            time.sleep(LOOK_S)

    @staticmethod
    def _try(look: Callable[[], None]) -> None:
        try:
            look()
        except Exception:  # no unforeseen kind of file may end the watch for all others
            log.exception("looking at the runs failed")

    def _look(self) -> None:
        for name in list(self._open):
            with self._lock:
                found = self._runs.get(name) if name in self._open else None
                if found is not None:
                    self._views[name] = found.view()
            if found is not None:
                found.curves.look()  # not under the lock: a long file takes a while
        if self._wants_rows or (self._tables and time.monotonic() - self._listed >= ROWS_S):
            every, self._wants_rows = self._wants_rows, False
            self._list(every=every)
        if time.monotonic() - self._sketched >= ROWS_S:
            self._sketched = time.monotonic()
            with self._lock:
                wanted = [self._runs[name] for name in self._sketching if name in self._runs]
            for run in wanted:  # not under the lock
                run.look_at_sketch()

    def _list(self, *, every: bool = True) -> None:
        """Read the rows of runs, some at a time; new rows are visible as soon as they are read.

        Args:
            every: also look at each of many runs that have ended, and not only at those whose turn it is.
        """
        self._scan()
        runs, rows, before = self._runs, dict[str, RunRow](), self._rows
        names = list(runs)
        turns = 1 if every else math.ceil(len(names) / ENDED_EACH_LOOK)
        self._turn += 1
        for at in range(0, len(names), PIECE):
            with self._lock:
                for number, name in enumerate(names[at : at + PIECE], at):
                    known = before.get(name)
                    if known is not None and not known.summary.is_alive and (number + self._turn) % turns:
                        rows[name] = known
                    else:
                        rows[name] = runs[name].row()
            if len(rows) > len(self._rows):
                self._rows, self._left = dict(rows), len(names) - len(rows)
            time.sleep(0)  # the page's own thread may go on
        if list(rows) != list(self._rows) or any(row is not self._rows[name] for name, row in rows.items()):
            self._rows = rows
        self._left, self._listed = 0, time.monotonic()
        self._has_listed.set()

    def _scan(self, interval_s: float = SCAN_S) -> None:
        with self._searching:
            if time.monotonic() - self._scanned < interval_s:
                return
            found = {run.name_below(self.root): run for run in self._search.runs()}
            with self._lock:
                if found.keys() != self._runs.keys():
                    self._runs = {name: self._runs.get(name) or RunFiles(run) for name, run in found.items()}
            self._scanned = time.monotonic()
