"""What pages show to nobody: see `trainctl.config.masking`, which trackers use too."""

from __future__ import annotations

from trainctl.config.masking import MASK, WHY, Masking, patterns_of

__all__ = ["MASK", "WHY", "Masking", "patterns_of"]
