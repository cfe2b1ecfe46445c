"""The Hydra app behind `trainctl run`: `python -m trainctl.commands --config-path DIR --config-name NAME …`."""

from __future__ import annotations

import os
import secrets
import sys
from types import TracebackType
from typing import Any


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show an error as Python does, but an interrupt as one word, without the traceback."""
    if isinstance(error, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
    else:
        sys.__excepthook__(kind, error, trace)


if __name__ == "__main__":
    sys.excepthook = _show

    import hydra

    from trainctl.commands.pipeline import run_commands
    from trainctl.commands.progress import LAUNCH

    os.environ[LAUNCH] = secrets.token_hex(4)
    # Hydra 1.4 wants no version base any more
    base: dict[str, Any] = {"version_base": None} if hydra.__version__.startswith("1.3") else {}
    hydra.main(config_path=None, **base)(run_commands)()
