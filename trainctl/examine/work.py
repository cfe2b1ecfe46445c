"""Reading by several processes: `python -m trainctl.examine.work`, each with a part of the runs.

They are new interpreters, which import what they need and nothing of the user's script: forking a process that has
threads (a notebook) is unsafe, and multiprocessing would run the script again. A process that dies takes no more with
it than the runs of its part, which say so.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from trainctl.examine.parsers import Experiment, Parser, apply
from trainctl.examine.row import Row, read_row
from trainctl.rundir.paths import RunDir

_LOOK_S = 0.5


def read(runs: Sequence[RunDir], processes: int) -> list[Row]:
    """Read the files of runs, in order."""
    if processes == 1:
        return [read_row(run) for run in runs]
    answers = _ask([{"runs": part} for part in _parts(runs, processes)])
    rows: list[Row] = []
    for part, answer in zip(_parts(runs, processes), answers, strict=True):
        rows += [read_row(run) for run in part] if isinstance(answer, str) else answer
    return rows


def parse(
    parsers: Sequence[Parser],
    rows: Sequence[Row],
    experiments: dict[Path, Experiment],
    caches: dict[str, Any],
    processes: int,
) -> list[Row]:
    """Let parsers look at runs, in order; what they put into `caches` is joined, the last one wins."""
    from trainctl.formats.pickles import dumps

    sent = dumps(list(parsers))  # functions of a script or a notebook too
    parts = _parts(rows, processes)
    answers = _ask(
        [
            {
                "parsers": sent,
                "rows": part,
                "experiments": [experiments[row.run.path] for row in part],
                "caches": caches,
            }
            for part in parts
        ]
    )
    found: list[Row] = []
    for part, answer in zip(parts, answers, strict=True):
        if isinstance(answer, str):
            for row in part:
                row.problems.append(f"the parsers: {answer}")
            found += part
            continue
        done, changed, shared = answer
        experiments.update({row.run.path: one for row, one in zip(done, changed, strict=True)})
        caches.update(shared)
        found += done
    return found


def _parts(items: Sequence[Any], number: int) -> list[list[Any]]:
    """Split into so many parts of nearly equal size, in order."""
    bounds = [len(items) * at // number for at in range(number + 1)]
    return [list(items[start:end]) for start, end in itertools.pairwise(bounds)]


def _ask(questions: Sequence[dict[str, Any]]) -> list[Any]:
    """Return the answer of each process, or a text that says why it has none; an interrupt of one ends all of them."""
    started: list[subprocess.Popen[bytes]] = []
    with ThreadPoolExecutor(len(questions)) as threads:
        try:
            return list(threads.map(lambda question: _ask_one(question, started), questions))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            for process in started:
                process.kill()
            raise


def _ask_one(question: dict[str, Any], started: list[subprocess.Popen[bytes]]) -> Any:
    # two parts, so that paths are known before what was pickled by reference is looked up there
    try:
        data = pickle.dumps(sys.path) + pickle.dumps(question)
    except Exception as error:  # noqa: BLE001  # a user's object may refuse in any way
        return f"they cannot be sent to another process ({type(error).__name__}: {error})"
    command = [sys.executable, "-c", "from trainctl.examine.work import main; main()"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([path for path in sys.path if path])}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    started.append(process)
    answer, _ = process.communicate(data)
    if process.returncode != 0 or not answer:
        return f"the process that ran them ended with {process.returncode}"
    return pickle.loads(answer)


def _end_with(parent: int) -> None:
    """Wait until the process that asked is gone, however it ended; then end this one, whatever a parser does."""
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)


def main() -> None:
    """Answer one question on standard input. Whatever is printed meanwhile goes to standard error."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.path[:] = pickle.load(sys.stdin.buffer)
    question = pickle.load(sys.stdin.buffer)
    if "runs" in question:
        answer: Any = [read_row(run) for run in question["runs"]]
    else:
        rows, experiments, caches = question["rows"], question["experiments"], question["caches"]
        parsers = pickle.loads(question["parsers"])
        for row, experiment in zip(rows, experiments, strict=True):
            apply(parsers, row, experiment, caches)
        answer = rows, experiments, caches
    with answers:
        answers.write(_packed(answer))


def _packed(answer: Any) -> bytes:
    """Pickle an answer; what a parser has found that cannot be sent becomes a problem of its row, and of no other."""
    from trainctl.formats.pickles import dumps

    with contextlib.suppress(Exception):  # a user's object may refuse in any way
        return dumps(answer)
    rows, experiments, caches = answer
    for row, experiment in zip(rows, experiments, strict=True):
        for where in (row.found, row.start, *experiment):
            for key in _unsendable(where):
                del where[key]
                row.problems.append(f"{key}: what was found cannot be sent to another process; read with workers=1")
        row.problems[:] = dict.fromkeys(row.problems)  # a metric is found, too
    for key in _unsendable(caches):
        del caches[key]
    return dumps(answer)


def _unsendable(values: dict[Any, Any]) -> list[Any]:
    from trainctl.formats.pickles import dumps

    found = []
    for pair in values.items():
        try:
            dumps(pair)
        except Exception:  # noqa: BLE001  # as above
            found.append(pair[0])
    return found
