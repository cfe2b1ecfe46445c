"""The command `trainctl`: reads and writes the files of runs, one module per subject; loads neither panel nor torch."""

from __future__ import annotations

from trainctl.cli.app import main

__all__ = ["main"]
