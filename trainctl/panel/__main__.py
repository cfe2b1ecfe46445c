"""Entry of the server's process: `python -m trainctl.panel ROOT`, started by `trainctl.panel.process` only."""

from __future__ import annotations

import json
import os
import sys


def main() -> int:
    """Read what was handed over on standard input, step back behind the training, and serve while the page is used."""
    os.nice(10)  # before the heavy imports: they are most of what the server ever costs
    start = json.load(sys.stdin)

    from trainctl.panel.server import run

    return run(start)


if __name__ == "__main__":
    sys.exit(main())
