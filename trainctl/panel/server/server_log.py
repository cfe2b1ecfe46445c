"""The server's log, `panel.log`: some lines a second at most, and two files of 1 MiB, whoever makes it write."""

from __future__ import annotations

import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path

from trainctl.panel.auth.rate_limit import Bucket

MOST_BYTES = 2**20
AT_ONCE, PER_S = 50, 1
LONGEST = 4096


def log_handler(path: Path) -> logging.Handler:
    """Return the handler of the log; when it is long it goes on in a new file, and `panel.log.1` is the one before."""
    handler = RotatingFileHandler(path, maxBytes=MOST_BYTES, backupCount=1, delay=True)
    handler.setFormatter(_Short("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(_Sparing())
    return handler


class _Short(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


class _Sparing(logging.Filter):
    """Lets a few lines at once pass, then one a second; the next line says how many were left out."""

    def __init__(self) -> None:
        super().__init__()
        self._turns = Bucket(AT_ONCE, PER_S)
        self._left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if not self._turns.take():
            self._left_out += 1
            return False
        if self._left_out:
            record.msg, record.args = f"{record.getMessage()} ({self._left_out} lines were left out before)", ()
            self._left_out = 0
        return True
