"""The command `trainctl`: reads and writes the files of runs, one module per subject; loads neither panel nor torch."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Run the command line; a refused request or a failed system call is one sentence on stderr and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an ASCII terminal must not turn a name into a traceback
    try:
        from trainctl.cli import terminal  # here: Ctrl-C may come while they are loaded
        from trainctl.cli.app import app

        with terminal.errors_as_sentences():
            app(prog_name="trainctl")
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
