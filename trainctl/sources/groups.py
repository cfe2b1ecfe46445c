"""The names of trainctl's config groups in Hydra."""

from __future__ import annotations

GROUP = "from"
UNKNOWN_GROUP = "from_unknown"
SCHEME = "trainctl-from"
