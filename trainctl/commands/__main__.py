"""The Hydra app behind `trainctl run`: `python -m trainctl.commands --config-path DIR --config-name NAME …`."""

from __future__ import annotations

import os
import secrets
from typing import Any

import hydra

from trainctl.commands.pipeline import run_commands
from trainctl.commands.progress import LAUNCH

if __name__ == "__main__":
    os.environ[LAUNCH] = secrets.token_hex(4)
    # Hydra 1.4 wants no version base any more
    base: dict[str, Any] = {"version_base": None} if hydra.__version__.startswith("1.3") else {}
    hydra.main(config_path=None, **base)(run_commands)()
