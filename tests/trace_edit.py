"""Print the functions of this package that see one edit, from its file to the hook: `python tests/trace_edit.py`.

A file is counted where one of its functions is called meanwhile in the thread that takes the request in or in the one
that trains. Those that a change of the package adds are then seen at once.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

from omegaconf import OmegaConf

import trainctl
from trainctl.attempt import attempt as attempts
from trainctl.rundir.inbox import file_request

ROOT = Path(trainctl.__file__).parent


class Calls:
    """The functions that were called, by file, while it was on and one of their arguments told of the edit."""

    def __init__(self, mark: str) -> None:
        self.by_file: dict[str, list[str]] = {}
        self._mark = mark

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """See one event of the interpreter."""
        path = frame.f_code.co_filename
        if event not in ("call", "return") or not path.startswith(str(ROOT)):
            return
        if any(self._tells(value) for value in list(frame.f_locals.values())):
            names = self.by_file.setdefault(str(Path(path).relative_to(ROOT)), [])
            if frame.f_code.co_name not in names:
                names.append(frame.f_code.co_name)

    def _tells(self, value: Any) -> bool:
        plain = isinstance(value, str | bytes | dict | list | tuple | Path) or type(value).__name__ in _CARRIERS
        return plain and self._mark in repr(value)


_CARRIERS = ("Request", "Edit", "Event", "Applied", "Now")


def trace(folder: Path) -> dict[str, list[str]]:
    """Train one step with one edit in `folder`; return the functions that had it in a variable, by file."""
    calls = Calls("0.0123")
    session = trainctl.live(OmegaConf.create({"lr": 0.1, "trainctl": {"poll_s": 3600}}), run_dir=folder)
    seen: list[float] = []
    session.on_edit(lambda edit: seen.append(edit.values["lr"]))
    attempt = attempts.current()
    assert attempt is not None
    file_request(attempt.run, {"lr": "0.0123"}, who="ada", via="cli")
    sys.setprofile(calls)
    try:
        assert session._files is not None
        session._files.pump.look()
        session.step()
    finally:
        sys.setprofile(None)
    attempt.end("done", exit_code=0)
    assert seen == [0.0123]
    return calls.by_file


def main() -> None:
    """Print the trace."""
    with tempfile.TemporaryDirectory() as folder:
        by_file = trace(Path(folder) / "run")
    for path, names in by_file.items():
        print(f"{path}: {', '.join(names)}")
    print(f"{len(by_file)} files, {sum(map(len, by_file.values()))} functions")


if __name__ == "__main__":
    main()
