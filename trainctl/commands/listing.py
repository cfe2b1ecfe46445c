"""What is said of a pipeline before its first job starts."""

from __future__ import annotations

import sys
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from trainctl.commands.pipeline import check_names, sentence_about_unused
from trainctl.commands.progress import chosen
from trainctl.commands.template import Templates
from trainctl.config.settings import settings_of
from trainctl.errors import TrainctlError


class Listing(Callback):
    """Refuses commands that cannot be run whatever their values are, and lists parameters that none of them uses.

    Attributes:
        may_run_ahead: it does nothing when a job starts.
    """

    may_run_ahead = True

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Look at the config of the whole sweep. In the process of the launcher."""
        try:
            templates = Templates(config)
            check_names(templates, str(config.hydra.job.name))
            chosen(templates, settings_of(config).run.only)
            sentence = sentence_about_unused(templates)
        except TrainctlError as error:
            sys.stderr.write(f"{error}\n")
            raise SystemExit(1) from None  # Hydra would only warn of a callback's exception
        if sentence is not None:
            sys.stderr.write(f"{sentence}\n")
