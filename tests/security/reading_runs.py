"""Calls commands of trainctl on a directory, one after the other, with little memory.

`python reading_runs.py ROOT [--as UID]` writes a JSON line per command: what was asked, exit code, output, seconds.
With `--as` everything is imported first, by a command on an empty directory, so that the other user need not read it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from trainctl.cli import app
from trainctl.panel.data.watcher import Watcher

MEMORY = 2**30
MOST = 10**6


def call(words: Sequence[str]) -> dict[str, object]:
    """Run one command."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    begun, code = time.monotonic(), 0
    sys.argv = ["trainctl", *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            app.main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        except BaseException:  # noqa: BLE001  # whatever a command dies of is its answer
            traceback.print_exc()
            code = 99
    seconds = time.monotonic() - begun
    said = {}
    for name, stream in (("out", out), ("err", err)):
        stream.flush()
        said[name] = stream.buffer.getvalue().decode(errors="replace")[:MOST]
    return {"asked": list(words), "code": code, "seconds": seconds, **said}


def look(root: Path) -> dict[str, object]:
    """Look at a directory as the page's watcher does."""
    begun = time.monotonic()
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
    seconds = time.monotonic() - begun
    return {"asked": ["page"], "code": 0, "rows": rows, "views": problems, "passed_over": shut, "seconds": seconds}


def main(root: str, *options: str) -> None:
    with tempfile.TemporaryDirectory() as empty:
        call(["ls", empty])
        call(["table", empty])
        __import__("pandas")  # what only some formats load: another user may not read this environment
    if options:
        os.setgroups([])
        os.setgid(int(options[1]))
        os.setuid(int(options[1]))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    print(json.dumps(look(Path(root))), flush=True)
    for words in (["ls"], ["ls", "--json"], ["table"], ["table", "--json"], ["table", "--format", "csv"]):
        print(json.dumps(call([*words, root])), flush=True)
    for path in sorted(Path(root).iterdir()):
        for words in (["show"], ["log"], ["tail"], ["diff", f"{root}/good-0"]):
            print(json.dumps(call([*words, str(path)])), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
