"""What a tracker is given in place of a value that it must not see."""

from __future__ import annotations

OMITTED = "OMITTED"
