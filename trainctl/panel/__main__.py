"""Entry point of the server process, `python -m trainctl.panel ROOT`; only `trainctl.panel.server.handle` starts it."""

from __future__ import annotations

import json
import sys

from trainctl.panel.server.lifetime import step_back


def main() -> int:
    """Read the start record from standard input, lower the priority, and serve for as long as the page is used."""
    step_back()  # before the heavy imports, most of the server's cost
    start = json.load(sys.stdin)

    from trainctl.panel.server.app import run

    return run(start)


if __name__ == "__main__":
    sys.exit(main())
