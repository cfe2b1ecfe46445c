"""JobReturns that cross processes and take little memory."""

from __future__ import annotations

import contextlib
import io
import pickle
import zlib
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException

from trainctl.compose._hydra import OUTCOME, is_told_by_main, outcome_of, wants_everything
from trainctl.errors import JobError, TrainctlError
from trainctl.formats.pickles import dumps

_PLAIN = (type(None), bool, int, float, str)
_NOTHING = b""


class StoredReturn(JobReturn):
    """A JobReturn whose configs are unpacked on access, since a sweep of 10,000 jobs keeps them all."""

    def __init__(self, fields: dict[str, Any], config: bytes, hydra_config: bytes) -> None:
        self._config = self._hydra_config = _NOTHING
        super().__init__()
        self.__dict__.update(fields)
        self._config, self._hydra_config = config, hydra_config

    @property
    def cfg(self) -> Any:
        return unpack_config(self._config)

    @cfg.setter
    def cfg(self, value: Any) -> None:
        self._config = pack_config(value)

    @property
    def hydra_cfg(self) -> Any:
        return unpack_config(self._hydra_config)

    @hydra_cfg.setter
    def hydra_cfg(self, value: Any) -> None:
        self._hydra_config = pack_config(value)


def pack_config(value: Any) -> bytes:
    """Pack one of the configs of a JobReturn."""
    if value is None:
        return _NOTHING
    press = zlib.compressobj(level=1, wbits=13, memLevel=6)  # memory that is new to a process costs it time
    return press.compress(_dumps(value)) + press.flush()


def unpack_config(data: bytes) -> Any:
    """Unpack the output of `pack_config`."""
    return None if data == _NOTHING else pickle.loads(zlib.decompress(data))


def _dumps(value: Any) -> bytes:
    """Pickle by reference where that works: in a forked job `__main__` is the launcher's own; else by value."""
    try:
        return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception:  # noqa: BLE001  # pickle raises whatever a __reduce__ raises
        return dumps(value)


def pack_return(returned: JobReturn, forked: bool, hydra_config: bytes | None = None) -> bytes:
    """Pack a JobReturn for the launcher.

    Args:
        returned: its value or exception is unpickled here once, so that a broken one fails its job and not the sweep.
        forked: this process has the launcher's `__main__`.
        hydra_config: `returned.hydra_cfg`, if it was packed before.

    Raises:
        JobError: the value or the exception cannot be pickled or unpickled.
    """
    fields = dict(returned.__dict__)
    config = pack_config(fields.pop("cfg", None))
    hydra = fields.pop("hydra_cfg", None)
    if hydra_config is None or hydra is None:
        hydra_config = pack_config(hydra)
    value = outcome_of(returned)
    if type(value) not in _PLAIN:
        what = "exception" if returned.status is JobStatus.FAILED else "return value"
        try:
            data = _dumps(value) if forked else dumps(value)
            pickle.loads(data)
        except Exception as error:  # whatever a __reduce__ or __setstate__ raises
            text = f": {value}" if what == "exception" else ""
            raise JobError(
                f"the job's {what} of type {type(value).__qualname__} cannot be passed to the launcher "
                f"({type(error).__name__}: {error}){text}"
            ) from error
        fields[OUTCOME] = data
        fields["_packed"] = True
    return _dumps((fields, config, hydra_config))


def unpack_return(data: bytes) -> JobReturn:
    """Rebuild, in the launcher, what `pack_return` packed."""
    fields, config, hydra_config = pickle.loads(data)
    if fields.pop("_packed", False):
        fields[OUTCOME] = pickle.loads(fields[OUTCOME])
    return StoredReturn(fields, config, hydra_config)


class ToldReturn(StoredReturn):
    """The JobReturn of a failed job whose failure is already on the terminal.

    Asking for its value raises the exception. If only Hydra's `main` would catch it, the program ends with exit code 1
    at once, since `main` would do the same after a traceback through Hydra. If a sweeper passes the exception on to
    `main`, that prints one sentence and no traceback.
    """

    @property
    def return_value(self) -> Any:
        if is_told_by_main():
            raise SystemExit(1)
        if wants_everything():
            return super().return_value
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # where Hydra says that there was an error in a job
                return super().return_value
        except BaseException as error:  # noqa: BLE001  # Hydra 1.4 has given it the task's own traceback again
            raised = error
        raise shortened(raised)

    @return_value.setter
    def return_value(self, value: Any) -> None:
        setattr(self, OUTCOME, value)


def shortened(error: BaseException) -> BaseException:
    """Return an exception of the same class, of which Hydra's `main` prints the sentence alone, if there can be one.

    >>> isinstance(shortened(KeyError("lr")), KeyError), str(shortened(ValueError("no lr")))
    (True, 'no lr')
    """
    kind = type(error)
    if isinstance(error, CompactHydraException) or not isinstance(error, Exception):
        return error
    try:
        short = type(kind.__name__, (kind, CompactHydraException), {"__module__": kind.__module__})
        made: BaseException = short.__new__(short, *error.args)
        made.args = error.args
        made.__dict__.update(error.__dict__)
    except Exception:  # noqa: BLE001  # a class may forbid whatever it likes
        return error
    made.__cause__, made.__context__ = error.__cause__, error.__context__
    made.__suppress_context__ = error.__suppress_context__
    return made.with_traceback(error.__traceback__) if str(made) == str(error) else error


def as_told(returned: JobReturn) -> JobReturn:
    """Return a failed job's JobReturn as one whose failure is on the terminal; any other one as it is."""
    if returned.status is not JobStatus.FAILED:
        return returned
    fields = dict(returned.__dict__)
    packed = [fields.pop(name, None) for name in ("_config", "_hydra_config")]
    if not isinstance(returned, StoredReturn):
        packed = [pack_config(fields.pop(name, None)) for name in ("cfg", "hydra_cfg")]
    return ToldReturn(fields, *packed)


class ShortJobError(JobError, CompactHydraException):
    """An error of trainctl, of which Hydra prints only the sentence, without a traceback."""


def failed_return(overrides: Sequence[str], error: BaseException, working_dir: str | None = None) -> JobReturn:
    """Return a FAILED JobReturn for a job that could not make one itself."""
    if isinstance(error, TrainctlError):
        error = ShortJobError(str(error)).with_traceback(error.__traceback__)
    returned = JobReturn(overrides=list(overrides), working_dir=working_dir, status=JobStatus.FAILED)
    returned.return_value = error
    return returned
