"""A command outside a slot: a watch ends all that it has started, should the process that waits for it be gone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Reads the number of the command's process group, then to the end: nobody holds the pipe any more, so it lets the group
# have TERM and, 5 s later, KILL. Ctrl-C is not for it.
_WATCH = """
trap '' INT TERM HUP QUIT
read -r group || exit 0
while read -r more; do :; done
kill -s TERM -- "-$group"
left=50
while [ "$left" -gt 0 ] && kill -s 0 -- "-$group"; do sleep 0.1; left=$((left - 1)); done
kill -s KILL -- "-$group"
"""

# said by the command itself, which holds the pipe until then: killed at any moment, we cannot have started it untold
_TELL = 'echo "$$" >&0 && exec "$@" </dev/null'


@contextmanager
def watched(words: Sequence[str], directory: Path, log: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a process group of its own, which ends when the block is left early or this process is gone.

    A block that is left as it should be lets go of what the command has left behind.

    Raises:
        OSError: it could not be started.
    """
    reader, writer = os.pipe()
    process: subprocess.Popen[bytes] | None = None
    try:
        watch = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH], stdin=reader, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    except OSError:
        os.close(writer)
        raise
    finally:
        os.close(reader)
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _TELL, "sh", *words], cwd=directory, stdin=writer, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        yield process
        watch.kill()
    finally:
        os.close(writer)
        if process is not None:
            process.wait()  # else it would be a dead member of the group, for which the watch waits
        watch.wait()
