"""Live sessions in this process, and a tiny training in its own."""

from session_fixtures import answered, ask, end_run, open_live, run, small_disk, start_toy, step_until

__all__ = ["answered", "ask", "end_run", "open_live", "run", "small_disk", "start_toy", "step_until"]
