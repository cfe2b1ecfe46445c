"""Files requests of all kinds, good and bad, until its standard input ends: `writing_loop.py RUN_DIR SEED`."""

from __future__ import annotations

import random
import select
import sys
from typing import Any

from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir


def wanted(rng: random.Random) -> dict[str, Any]:
    """Return a request that leaves `a` and `b` equal, or that must be refused as a whole."""
    number = rng.randrange(10**6)
    kinds: list[dict[str, Any]] = [
        {"edits": {"a": str(number), "b": str(number)}},
        {"edits": {"a": str(number), "b": "x"}},  # one of them is wrong
        {"relative": {"a": {"op": "+", "by": 1}, "b": {"op": "+", "by": 1}}},
        {"relative": {"a": {"op": "*", "by": 1}, "b": {"op": "/", "by": 0}}},
        {"undo": True},
        {"undo": rng.randrange(1, 30), "force": True},
        {"edits": {"a": str(number), "b": str(number)}, "at": rng.randrange(1, 3000)},
        {"edits": {"s": "ö\n#.\n7: {a: 1}\n" + "x" * rng.randrange(3000)}},
    ]
    return {"edits": {}, **rng.choice(kinds)}


def main() -> None:
    run, rng = RunDir.at(sys.argv[1]), random.Random(int(sys.argv[2]))
    while not select.select([sys.stdin], [], [], rng.random() * 0.3)[0]:
        request = wanted(rng)
        file_request(run, request.pop("edits"), via="test", note=f"by {sys.argv[2]}", **request)


if __name__ == "__main__":
    main()
