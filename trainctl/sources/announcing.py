"""Messages about a source while the config is composed."""

from __future__ import annotations

import functools
import logging
import sys

from trainctl.text import clean

log = logging.getLogger(__name__)


@functools.cache  # Hydra composes a config several times
def announce(sentence: str) -> None:
    """Log a sentence, once per process; on standard error where no logging is set up yet, as in a Hydra app."""
    sentence = clean(sentence)
    if log.isEnabledFor(logging.INFO) and log.hasHandlers():
        log.info("%s", sentence)
    else:
        sys.stderr.write(f"{sentence}\n")
