"""Which process of a distributed run this is."""

from __future__ import annotations

import os


def rank() -> int:
    """Return this process's rank; 0 outside a distributed run. Only rank 0 writes the run dir and takes edits."""
    text = os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or "0"
    return int(text) if text.isdigit() else 0
