"""From many runs to one pandas DataFrame: `Examiner().add(parser).exam("outputs/train").table()`."""

from __future__ import annotations

from trainctl.examine.columns import varying
from trainctl.examine.examiner import Examiner
from trainctl.examine.parsers import Experiment, latest_log

__all__ = ["Examiner", "Experiment", "latest_log", "varying"]
