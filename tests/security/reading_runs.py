"""Calls commands of trainctl on a directory, one after the other, with little memory.

`python reading_runs.py ROOT [--as UID]` writes a JSON line per command: what was asked, exit code, output, seconds of a
processor, which do not depend on who else uses the machine.
With `--as` everything is imported first, by a command on an empty directory, so that the other user need not read it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from trainctl import cli
from trainctl.errors import TrainctlError
from trainctl.panel.data.watcher import Watcher
from trainctl.rundir.compare import compare
from trainctl.rundir.paths import RunDir
from trainctl.session.schedule import read_replay, replayed_repeats
from trainctl.sources.kinds import read_source

MEMORY = 2**30
MOST = 10**6
MOST_S = 60  # a command that hangs is interrupted: the answer is where it was


def call(words: Sequence[str]) -> dict[str, object]:
    """Run one command."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    begun, code = time.process_time(), 0
    signal.alarm(MOST_S)
    sys.argv = ["trainctl", *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        except BaseException:  # noqa: BLE001  # whatever a command dies of is its answer
            traceback.print_exc()
            code = 99
    signal.alarm(0)
    seconds = time.process_time() - begun
    said = {}
    for name, stream in (("out", out), ("err", err)):
        stream.flush()
        said[name] = stream.buffer.getvalue().decode(errors="replace")[:MOST]
    return {"asked": list(words), "code": code, "seconds": seconds, **said}


def look(root: Path) -> dict[str, object]:
    """Look at a directory as the page's watcher does."""
    begun = time.process_time()
    watcher = Watcher(root)
    rows = {name: [row.summary.state, row.summary.why, row.summary.step] for name, row in watcher.rows().items()}
    problems = {}
    for name in rows:
        view, curves = watcher.view(name), watcher.curves(name)
        assert view is not None
        assert curves is not None
        curves.look()
        problems[name] = [view.problem, len(view.events), curves.names]
    shut = [str(path) for path in watcher.passed_over]
    seconds = time.process_time() - begun
    return {"asked": ["page"], "code": 0, "rows": rows, "views": problems, "passed_over": shut, "seconds": seconds}


def load(path: Path) -> object:
    """Load a run as `+from=run/…` does."""
    return read_source(f"run/{path}").values


def replay(path: Path) -> object:
    """Read a run as one that replays it does."""
    return [edit.values for edit in read_replay(path).edits], len(replayed_repeats(path, ()))


def verify(path: Path) -> object:
    """Compare a run with the repetition of another, as `replay --verify` does."""
    return compare(RunDir.at(path), RunDir.at(path.parent / "good-0")).difference


READERS: dict[str, Callable[[Path], object]] = {"+from": load, "replay": replay, "verify": verify}


def read(name: str, reader: Callable[[Path], object], path: Path) -> dict[str, object]:
    """Read one run; the answer is what was read, or the sentence why not."""
    begun = time.process_time()
    found: dict[str, object] = {}
    signal.alarm(MOST_S)
    try:
        found = {"code": 0, "out": reader(path)}
    except TrainctlError as error:
        found = {"code": 1, "err": str(error)}
    except BaseException:  # noqa: BLE001  # as above
        found = {"code": 99, "err": traceback.format_exc()}
    signal.alarm(0)
    return {"asked": [name, str(path)], "seconds": time.process_time() - begun, **found}


def peak() -> int:
    """Return the most memory that this process has had, in bytes (`ru_maxrss` begins with the parent's)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def interrupt(*_: object) -> None:
    raise TimeoutError("it hangs")


def main(root: str, *options: str) -> None:
    with tempfile.TemporaryDirectory() as empty:
        call(["ls", empty])
        call(["table", empty])
        for name in (
            "pandas",
            "trainctl.explain.explain",
        ):  # what only some commands load: another user may not read it
            __import__(name)
    signal.signal(signal.SIGALRM, interrupt)
    begun = peak()
    if options:
        os.setgroups([])
        os.setgid(int(options[1]))
        os.setuid(int(options[1]))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    print(json.dumps(look(Path(root))), flush=True)
    for words in (["ls"], ["ls", "--json"], ["table"], ["table", "--json"], ["table", "--format", "csv"]):
        print(json.dumps(call([*words, root])), flush=True)
    for path in sorted(Path(root).iterdir()):
        for words in (["show"], ["log"], ["tail"], ["diff", f"{root}/good-0"], ["explain"]):
            print(json.dumps(call([*words, str(path)])), flush=True)
        for name, reader in READERS.items():
            print(json.dumps(read(name, reader, path)), flush=True)
        print(json.dumps(call(["sync", "--to", "tensorboard", str(path)])), flush=True)
    print(json.dumps({"asked": ["memory"], "code": 0, "seconds": 0, "grown": peak() - begun}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
