"""Write the reference of settings and commands from the code that reads them: `make reference`.

A test fails while `docs/reference/settings.md` or `commands.md` is not what this writes.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import typer

from trainctl.cli.app import _SECTIONS, app
from trainctl.config.settings import IdentitySettings, PanelSettings, RunSettings, Settings
from trainctl.launch.ray import RayLauncherConf
from trainctl.launch.settings import SlotLauncherConf
from trainctl.launch.slurm import SlurmLauncherConf

HERE = Path(__file__).resolve().parent / "reference"
UNITS = {
    "_s": "seconds",
    "_min": "minutes",
    "_mib": "MiB",
    "_gb": "GB",
    "_util": "percent",
    "sync_every": "steps",
    "seed": "",
}
