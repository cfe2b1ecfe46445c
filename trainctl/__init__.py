"""Hydra sweeps on slots, and training runs whose hyper-parameters are edited live and replayed exactly."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainctl.config.build import BuildError, build
    from trainctl.config.changelog import Changelog, Edit
    from trainctl.config.pairs import Pairs
    from trainctl.config.script import (
        ConfigScript,
        ConfigScriptDict,
        ConfigScriptList,
        ConfigScriptNoCache,
        MetaConfig,
        deep_replace,
        parse_args,
        unroll,
    )
    from trainctl.errors import (
        ChangelogError,
        DriftError,
        EditError,
        IncompatibleError,
        JobError,
        MissingError,
        PairError,
        RankError,
        RunDirError,
        ScriptError,
        SettingError,
        TrainctlError,
    )
    from trainctl.examine.examiner import Examiner
    from trainctl.examine.parsers import latest_log
    from trainctl.frameworks.modelscript import ConfigModelScript
    from trainctl.panel.pages.notebook import panel_app
    from trainctl.rundir.paths import RunDir, find_runs
    from trainctl.session.api import current, live
    from trainctl.session.live import Live

__version__ = "0.2.0"

_HOMES = {
    "BuildError": "trainctl.config.build",
    "Changelog": "trainctl.config.changelog",
    "ChangelogError": "trainctl.errors",
    "ConfigModelScript": "trainctl.frameworks.modelscript",
    "ConfigScript": "trainctl.config.script",
    "ConfigScriptDict": "trainctl.config.script",
    "ConfigScriptList": "trainctl.config.script",
    "ConfigScriptNoCache": "trainctl.config.script",
    "DriftError": "trainctl.errors",
    "Edit": "trainctl.config.changelog",
    "EditError": "trainctl.errors",
    "Examiner": "trainctl.examine.examiner",
    "IncompatibleError": "trainctl.errors",
    "JobError": "trainctl.errors",
    "Live": "trainctl.session.live",
    "MetaConfig": "trainctl.config.script",
    "MissingError": "trainctl.errors",
    "PairError": "trainctl.errors",
    "Pairs": "trainctl.config.pairs",
    "RankError": "trainctl.errors",
    "RunDir": "trainctl.rundir.paths",
    "RunDirError": "trainctl.errors",
    "ScriptError": "trainctl.errors",
    "SettingError": "trainctl.errors",
    "TrainctlError": "trainctl.errors",
    "build": "trainctl.config.build",
    "current": "trainctl.session.api",
    "deep_replace": "trainctl.config.script",
    "find_runs": "trainctl.rundir.paths",
    "latest_log": "trainctl.examine.parsers",
    "live": "trainctl.session.api",
    "panel_app": "trainctl.panel.pages.notebook",
    "parse_args": "trainctl.config.script",
    "unroll": "trainctl.config.script",
}

__all__ = [
    "BuildError",
    "Changelog",
    "ChangelogError",
    "ConfigModelScript",
    "ConfigScript",
    "ConfigScriptDict",
    "ConfigScriptList",
    "ConfigScriptNoCache",
    "DriftError",
    "Edit",
    "EditError",
    "Examiner",
    "IncompatibleError",
    "JobError",
    "Live",
    "MetaConfig",
    "MissingError",
    "PairError",
    "Pairs",
    "RankError",
    "RunDir",
    "RunDirError",
    "ScriptError",
    "SettingError",
    "TrainctlError",
    "__version__",
    "build",
    "current",
    "deep_replace",
    "find_runs",
    "latest_log",
    "live",
    "panel_app",
    "parse_args",
    "unroll",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: importing `trainctl` alone must cost nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'trainctl' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
