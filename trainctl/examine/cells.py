"""Several values as one: mean, standard deviation, and how many they are."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from trainctl.examine.curve import mean_of
from trainctl.rundir.fields import as_float

_SHORT = (1e-12, 1e12)  # deviations between these are written without an exponent


@dataclass(frozen=True, slots=True)
class Cell:
    """The values of one column over the runs of one row. The deviation is that of a sample, None for a single one."""

    mean: float
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Iterable[object]) -> Cell | None:
        """Fold the numbers among the values; None when there are none. NaN and infinities stay what they are."""
        numbers = [as_float(one) for one in values if isinstance(one, int | float) and not isinstance(one, bool)]
        if not numbers:
            return None
        mean = mean_of(numbers)
        if not math.isfinite(mean) or len(numbers) == 1:
            return cls(mean, None, len(numbers))
        try:
            return cls(mean, statistics.stdev(numbers), len(numbers))
        except OverflowError:  # its square, or itself, is no float
            return cls(mean, math.inf, len(numbers))

    def text(self, sign: str = "±") -> str:
        """Write both in digits that the deviation leaves meaningful.

        >>> Cell(0.97123, 0.0042, 3).text(), Cell(12.0, None, 1).text()
        ('0.9712 ± 0.0042', '12')
        """
        if self.deviation is None:
            return f"{self.mean:.6g}"
        if not _SHORT[0] <= self.deviation < _SHORT[1]:
            return f"{self.mean:.6g} {sign} {self.deviation:.3g}"
        digits = max(0, 1 - math.floor(math.log10(self.deviation)))
        return f"{self.mean:.{digits}f} {sign} {self.deviation:.{digits}f}"
