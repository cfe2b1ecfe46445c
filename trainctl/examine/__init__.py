"""From many runs to one table: `Examiner().add(parser).exam("outputs/train").table()`."""

from __future__ import annotations

from trainctl.examine.columns import varying
from trainctl.examine.examiner import Examiner
from trainctl.examine.parsers import Experiment, latest_log
from trainctl.examine.table import Table

__all__ = ["Examiner", "Experiment", "Table", "latest_log", "varying"]
