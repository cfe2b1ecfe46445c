"""What the tests of this directory are given, by type."""

from __future__ import annotations

from collections.abc import Callable

from trainctl.session.live import Live

OpenLive = Callable[..., Live]
