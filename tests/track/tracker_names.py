"""What a name on a tracker stands for: the inverse of `trainctl.track.names`, by which no two keys share a name."""

from __future__ import annotations

import re


def key_of(name: str) -> str:
    """Return the key that has this name.

    >>> key_of("acc:40:1"), key_of("optim.lr")
    ('acc@1', 'optim.lr')
    """
    return "" if name == "::" else re.sub(":([0-9a-f]{1,6}):", lambda found: chr(int(found[1], 16)), name)
