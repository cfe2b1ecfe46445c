"""Where the launcher's words go: a stream whose reader may go away, which must never cost a sweep."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from typing import TextIO

_FOR_GOOD = (errno.EIO, errno.EPIPE, errno.EBADF, errno.ENXIO)  # a full disk may have room again


class Outlet:
    """Writes to a stream; once that fails for good (the terminal or the pipe is gone) everything is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.is_gone = False

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        return not self.is_gone and self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, text: str) -> int:
        try:
            self._try(lambda: self._stream.write(text))
        except UnicodeEncodeError:
            plain = text.encode(self.encoding, "backslashreplace").decode(self.encoding)
            self._try(lambda: self._stream.write(plain))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def size(self) -> tuple[int, int] | None:
        """Return columns and lines of the terminal as they are now; None where there is none or it does not say."""
        try:
            size = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError, AttributeError):
            return None
        return (size.columns, size.lines) if size.columns > 0 and size.lines > 0 else None

    def _try(self, act: Callable[[], object]) -> None:
        if self.is_gone:
            return
        try:
            act()
        except OSError as error:
            if error.errno in _FOR_GOOD:
                self._leave()
        except UnicodeEncodeError:
            raise
        except ValueError:  # somebody closed the stream
            self._leave()

    def _leave(self) -> None:
        """Write nothing any more, and let nothing that is still buffered spoil the exit code of the program."""
        self.is_gone = True
        with contextlib.suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            self._stream.flush()
