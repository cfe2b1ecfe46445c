"""Entry of the server's process: `python -m trainctl.panel ROOT`, started by `trainctl.panel.server.handle` only."""

from __future__ import annotations

import json
import sys

from trainctl.panel.server.lifetime import step_back


def main() -> int:
    """Read what was handed over on standard input, step back behind the training, and serve while the page is used."""
    step_back()  # before the heavy imports: they are most of what the server ever costs
    start = json.load(sys.stdin)

    from trainctl.panel.server.app import run

    return run(start)


if __name__ == "__main__":
    sys.exit(main())
