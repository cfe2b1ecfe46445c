"""Checks of a pipeline before its first job starts."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from trainctl.commands.pipeline import UNRECORDED, check_names, sentence_about_unused
from trainctl.commands.progress import chosen
from trainctl.commands.shell import keep_terminal
from trainctl.commands.template import Templates
from trainctl.compose.pairs import check_each_job
from trainctl.config.overrides import task_overrides
from trainctl.config.settings import settings_of
from trainctl.errors import CommandError, TrainctlError

_ADDED = re.compile(r"\+{1,2}([\w-]+)[.=]")
_SOURCES = ("from", "from_unknown")
_OURS = ("trainctl.callback.", "hydra_plugins.hydra_trainctl.")


class CommandCheck(Callback):
    """Refuses commands that cannot be run whatever their values are, and lists parameters that none of them uses.

    Attributes:
        may_run_ahead: it does nothing when a job starts.
    """

    may_run_ahead = True

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Look at the config of a single run, which Hydra's own `--run` asks for."""
        self.on_multirun_start(config)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Look at the config of the whole sweep. In the process of the launcher."""
        try:
            if not is_recorded(config.hydra):
                raise CommandError(UNRECORDED)
            templates, settings = Templates(config), settings_of(config).run
            check_names(templates, str(config.hydra.job.name))
            templates.check(chosen(templates, settings.only))
            check_each_job(check_job)
            sentence = sentence_about_unused(templates, added(config.hydra))
        except TrainctlError as error:
            sys.stderr.write(f"{error}\n")
            raise SystemExit(1) from None  # Hydra would only warn of a callback's exception
        if sentence is not None:
            sys.stderr.write(f"{sentence}\n")
        if settings.debug:
            keep_terminal()


def added(hydra: DictConfig) -> list[str]:
    """Return the top-level keys that the command line adds, to all jobs (`+x=1`) or by turns (`+x=1,2`); no groups."""
    found = (_ADDED.match(text) for text in task_overrides(hydra))
    folders = [Path(str(source.path)) for source in hydra.runtime.config_sources if source.schema == "file"]
    groups = {*_SOURCES, *map(str, hydra.runtime.choices)}
    keys = [match[1] for match in found if match is not None and match[1] not in groups]
    return [key for key in keys if not any((folder / key).is_dir() for folder in folders)]


def check_job(config: DictConfig) -> None:
    """Refuse commands of a job that refer to a key which its config does not have.

    Raises:
        CommandError: says which.
    """
    templates = Templates(config)
    templates.check_keys(chosen(templates, settings_of(config).run.only))


def is_recorded(hydra: DictConfig) -> bool:
    """Whether jobs have a run dir of trainctl, by its launcher or by its callback."""
    targets = [OmegaConf.select(hydra, f"callbacks.{name}._target_") for name in hydra.callbacks]
    targets.append(OmegaConf.select(hydra, "launcher._target_"))
    return any(str(target).startswith(_OURS) for target in targets)
