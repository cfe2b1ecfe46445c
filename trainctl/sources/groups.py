"""What Hydra calls ours."""

from __future__ import annotations

GROUP = "from"
UNKNOWN_GROUP = "from_unknown"
SCHEME = "trainctl-from"
