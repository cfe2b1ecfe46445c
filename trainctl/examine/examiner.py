"""From many runs to one table: which runs are read, by how many processes, and what is read again."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainctl.errors import RunDirError, SettingError
from trainctl.examine import mlrunner, work
from trainctl.examine.cache import Cache, signature_of
from trainctl.examine.parsers import Experiment, Parser, apply, arity
from trainctl.examine.row import Row
from trainctl.rundir.paths import FoundRuns, Listed, RunDir, list_at, search

if TYPE_CHECKING:
    import pandas as pd

MOST_COLUMNS = 2000  # of a kind that nobody asked for by name; a run may have 60,000 metrics
_ALONE = 400  # runs that one process reads sooner than others start


@dataclass(frozen=True, slots=True)
class _Root:
    """A directory that was examined: where it is, how it was named, and as which one of all."""

    path: Path
    name: str
    number: int

    def given(self, path: Path) -> str:
        """Return a path at or below it, by its name."""
        return str(Path(self.name) / path.relative_to(self.path))


class Examiner:
    """Reads runs, and makes tables of them: `Examiner().add(parser).exam("outputs/train", regex=".*new.*").table()`.

    What is in a run dir anyhow needs no parser: parameters, return value, metrics, state, times, edits.

    Attributes:
        found: what the last look has found, and where it has not looked.
        rows: of the runs that were read, by path: sorted, directory by directory in the order of the first look at it.
        caches: what parsers of three arguments share.
    """

    def __init__(self, *, cache: bool = True) -> None:
        """Read runs; with `cache` what was read before is not read again as long as no file has changed."""
        self._cached = cache
        self._parsers: list[Parser] = []
        self._roots: dict[Path, _Root] = {}
        self._experiments: dict[Path, Experiment] = {}
        self.found = FoundRuns()
        self.rows: dict[Path, Row] = {}
        self.caches: dict[str, Any] = {}

    def add(self, parser: Parser) -> Examiner:
        """Let a function look at each run: `(run) -> dict`, or mlrunner's `(path, experiment, caches)`.

        Parsers are called in the order in which they were added, each time; what they find is not kept.

        Raises:
            SettingError: it is not a function, or takes neither one argument nor three.
        """
        arity(parser)
        if parser not in self._parsers:
            self._parsers.append(parser)
        return self

    def exam(
        self, output: str | os.PathLike[str] = "outputs", regex: str = ".*", *, workers: int | None = None
    ) -> Examiner:
        """Read the runs at and below a directory whose path below it the pattern is found in; again, if they were.

        What is gone since an earlier look at the same directory is forgotten.

        Args:
            output: the directory.
            regex: searched in the run's path below it.
            workers: processes that read; by default one, or as many as there are cores where many runs are to be read.
                Parsers must then be such that they can be sent there, and each process has its own `caches` to begin
                with; they are joined.

        Raises:
            RunDirError: the directory is not there. SettingError: the pattern is not a regular expression.
        """
        root = Path(os.path.abspath(output))
        if not root.is_dir():
            raise RunDirError(f"{str(output)!r} is not a directory; name the one that holds your runs, such as outputs")
        try:
            pattern = re.compile(regex)
        except re.error as error:
            raise SettingError(f"regex={regex!r} is not a regular expression: {error}") from error
        self.found = find(root)
        found = self.found.runs
        runs = [run for run in found if pattern.search(_below(run.path, root))]
        there = {run.path for run in found}
        for path in [path for path, of in self._roots.items() if of.path == root and path not in there]:
            del self.rows[path], self._roots[path]  # it was there at an earlier look
        known = {of.path: of for of in self._roots.values()}
        of = known.get(root) or _Root(root, str(output), len(known))
        for row in self._read(root, runs, found, workers):
            self.rows[row.run.path] = row
            self._roots.setdefault(row.run.path, of)
        self.rows = {path: self.rows[path] for path in sorted(self.rows, key=self._place)}
        return self

    def table(
        self,
        *,
        by: str | Sequence[str] | None = None,
        metrics: str | Sequence[str] | None = None,
        best: str | None = None,
        most: int = MOST_COLUMNS,
    ) -> pd.DataFrame:
        """Return the table as a pandas DataFrame: a row for each run, or for each group of runs.

        Without `by` and `best` the index is the name of each run (`run`). The columns are `state` where not all runs
        are done, the parameters in which they differ, `KEY@end` of keys that were edited, the return value (`result`,
        or `result.NAME` of a mapping), the metrics, what parsers found, `edits`, `took_s`, and `reason` where a run
        failed or something of it could not be read.

        With `by` the index are those parameters (a MultiIndex if there are several). The columns are `runs`, how many
        are done; `not done` where there are such; and of each metric `NAME` (the mean over the runs), `NAME std` (the
        standard deviation of a sample; missing for a single run) and `NAME count` (how many runs have a number there).
        With `best` they are `best run` and its values.

        Numbers stay as they were written. A column of integers is `int64`, of floats `float64`, of true and false
        `bool`; `Int64`, `Float64` and `boolean` where values are missing (`<NA>`) or one is NaN, so that a loss that
        diverged (`NaN`) can be told from one that was never logged. All else is `object`, with None for missing; so is
        a column of both integers and floats. A list or mapping in the index is written as YAML.

        `attrs["constants"]` has the parameters that are the same in all runs, `attrs["keys"]` the columns and levels
        that say which row it is, `attrs["means"]` the columns of means. `attrs["left_out"]` says how many metrics and
        parameters there are beyond the first `most`, if there are any.

        Args:
            by: parameters, or anything else that the runs have (what a parser found, `edits`, `optim.lr@end`); those
                that agree in it are one row. `"params"` are all parameters in which they differ but the seeds. Only
                runs that are done count there.
            metrics: which to show, such as `accuracy:max`; `:last`, `:min`, `:mean`, `:first`, `:count` are the others.
                Also `took_s`, `started`, `attempt`, `edits`, and `KEY@end`, the value of a key at the end.
            most: how many metrics, and how many parameters, become columns without being named in `metrics` or `by`.
            best: a metric such as `accuracy:max` or `loss:min`; of each group its best run is shown instead, none if
                none is done.

        Raises:
            SettingError: there is no such parameter or metric.
        """
        from trainctl.examine.table import make_table  # pandas, which takes long to import

        return make_table(self.named(), by=by, metrics=metrics, best=best, most=most)

    def named(self) -> dict[str, Row]:
        """Return the rows by a name of each that no other has.

        It is the path below the directory that was examined, else with that directory as it was given, else in full.
        """
        names = {path: [str(path), of.given(path), _below(path, of.path)] for path, of in self._roots.items()}
        while True:
            taken = Counter(choices[-1] for choices in names.values())
            equal = [choices for choices in names.values() if taken[choices[-1]] > 1]
            if not equal:
                return {names[path][-1]: row for path, row in self.rows.items()}
            for choices in equal:
                if len(choices) > 1:
                    choices.pop()

    def _place(self, path: Path) -> tuple[int, tuple[str, ...]]:
        return self._roots[path].number, path.parts

    def _read(self, root: Path, runs: list[RunDir], found: list[RunDir], workers: int | None) -> Iterable[Row]:
        cache = Cache(root) if self._cached and runs else None
        signatures = {run.path: signature_of(run) for run in runs} if cache else {}
        kept = {run.path: cache.get(run, signatures[run.path]) for run in runs} if cache else {}
        new = [run for run in runs if kept.get(run.path) is None]
        processes = _processes(workers, len(runs if self._parsers else new), self._parsers)
        read = {row.run.path: row for row in work.read(new, processes)}
        if cache:
            for run in new:
                cache.put(read[run.path], signatures[run.path])
            cache.write(found)
        rows = [kept.get(run.path) or read[run.path] for run in runs]
        if not self._parsers:
            return rows
        for row in rows:
            self._experiments.setdefault(row.run.path, Experiment({}, {}, {}))
        if processes > 1:
            return work.parse(self._parsers, rows, self._experiments, self.caches, processes)
        for row in rows:
            apply(self._parsers, row, self._experiments[row.run.path], self.caches)
        return rows


def find(root: Path) -> FoundRuns:
    """Find the runs at and below a directory, and those that mlrunner made; see `search`."""

    def look(path: str, is_listed: bool) -> Listed:
        listed = list_at(path, is_listed)
        if listed.run is None and mlrunner.is_output(Path(path)):
            return Listed(RunDir(Path(path)))
        return listed

    return search(root, look)


def _below(path: Path, root: Path) -> str:
    return path.name if path == root else path.relative_to(root).as_posix()


def _processes(workers: int | None, number: int, parsers: Sequence[Parser]) -> int:
    if workers is not None:
        if workers < 1:
            raise SettingError(f"workers must be at least 1 but got {workers}")
        return min(workers, max(1, number))
    if number < _ALONE or parsers:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 8)
