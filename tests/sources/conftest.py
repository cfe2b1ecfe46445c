"""Fixtures of the tests of sources."""

from __future__ import annotations

from earlier_runs import conf, made, make_run

__all__ = ["conf", "made", "make_run"]
