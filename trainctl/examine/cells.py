"""Several values as one: mean, standard deviation, and how many they are."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cell:
    """The values of one column over the runs of one row. The deviation is that of a sample, None for a single one."""

    mean: float
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Iterable[object]) -> Cell | None:
        """Fold the numbers among the values; None when there are none. NaN and infinities stay what they are."""
        numbers = [float(one) for one in values if isinstance(one, int | float) and not isinstance(one, bool)]
        if not numbers:
            return None
        if not all(map(math.isfinite, numbers)):
            return cls(sum(numbers), None, len(numbers))
        return cls(statistics.fmean(numbers), statistics.stdev(numbers) if len(numbers) > 1 else None, len(numbers))

    def text(self, sign: str = "±") -> str:
        """Write both in digits that the deviation leaves meaningful.

        >>> Cell(0.97123, 0.0042, 3).text(), Cell(12.0, None, 1).text()
        ('0.9712 ± 0.0042', '12')
        """
        if self.deviation is None:
            return f"{self.mean:.6g}"
        if self.deviation == 0 or not math.isfinite(self.deviation):
            return f"{self.mean:.6g} {sign} {self.deviation:.3g}"
        digits = max(0, 1 - math.floor(math.log10(self.deviation)))
        return f"{self.mean:.{digits}f} {sign} {self.deviation:.{digits}f}"
