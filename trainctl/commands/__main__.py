"""The Hydra app behind `trainctl run`: `python -m trainctl.commands --config-path DIR --config-name NAME …`."""

from __future__ import annotations

import sys
from typing import Any

import hydra

from trainctl.commands.pipeline import run_commands
from trainctl.commands.shell import keep_terminal

if __name__ == "__main__":
    if any(argument.lstrip("+") == "trainctl.run.debug=true" for argument in sys.argv):
        keep_terminal()
    # Hydra 1.4 wants no version base any more
    base: dict[str, Any] = {"version_base": None} if hydra.__version__.startswith("1.3") else {}
    hydra.main(config_path=None, **base)(run_commands)()
