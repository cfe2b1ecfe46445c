"""What a job gives back to the sweeper: a JobReturn that crosses processes and costs little to keep."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Sequence
from typing import Any

import cloudpickle
from hydra.core.utils import JobReturn, JobStatus

from trainctl.errors import JobError

_PLAIN = (type(None), bool, int, float, str)


class StoredReturn(JobReturn):
    """A JobReturn whose configs are unpacked when somebody looks: a sweep of 10,000 jobs keeps them all."""

    def __init__(self, fields: dict[str, Any], configs: bytes) -> None:
        self._configs = b""
        super().__init__()
        self.__dict__.update(fields)
        self._configs = configs

    @property
    def cfg(self) -> Any:
        return self._unpacked()[0]

    @cfg.setter
    def cfg(self, value: Any) -> None:
        self._configs = _pack((value, self._unpacked()[1]))

    @property
    def hydra_cfg(self) -> Any:
        return self._unpacked()[1]

    @hydra_cfg.setter
    def hydra_cfg(self, value: Any) -> None:
        self._configs = _pack((self._unpacked()[0], value))

    def _unpacked(self) -> tuple[Any, Any]:
        if not self._configs:
            return None, None
        configs: tuple[Any, Any] = pickle.loads(zlib.decompress(self._configs))
        return configs


def _pack(value: Any) -> bytes:
    return zlib.compress(_dumps(value), 1)


def _dumps(value: Any) -> bytes:
    """Pickle by reference where that works: in a forked job `__main__` is the launcher's own; else by value."""
    try:
        return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception:  # noqa: BLE001  # pickle raises whatever a __reduce__ raises
        data: bytes = cloudpickle.dumps(value)
        return data


def pack_return(returned: JobReturn, forked: bool) -> bytes:
    """Pack a JobReturn for the launcher.

    Args:
        returned: its value or exception is tried out here, so that a broken one fails its own job and not the sweep.
        forked: this process has the launcher's `__main__`.

    Raises:
        JobError: the value or the exception cannot be pickled, or not be unpickled again.
    """
    fields = dict(returned.__dict__)
    configs = _pack((fields.pop("cfg", None), fields.pop("hydra_cfg", None)))
    value = fields.get("_return_value")
    if type(value) not in _PLAIN:
        what = "exception" if returned.status is JobStatus.FAILED else "return value"
        try:
            data = _dumps(value) if forked else cloudpickle.dumps(value)
            pickle.loads(data)
        except Exception as error:  # whatever a __reduce__ or __setstate__ raises
            text = f": {value}" if what == "exception" else ""
            raise JobError(
                f"the job's {what} of type {type(value).__qualname__} cannot be passed to the launcher "
                f"({type(error).__name__}: {error}){text}"
            ) from error
        fields["_return_value"] = data
        fields["_packed"] = True
    return _dumps((fields, configs))


def unpack_return(data: bytes) -> JobReturn:
    """Rebuild, in the launcher, what `pack_return` packed."""
    fields, configs = pickle.loads(data)
    if fields.pop("_packed", False):
        fields["_return_value"] = pickle.loads(fields["_return_value"])
    return StoredReturn(fields, configs)


def failed_return(overrides: Sequence[str], error: BaseException, working_dir: str | None = None) -> JobReturn:
    """Return a FAILED JobReturn for a job that could not make one itself."""
    returned = JobReturn(overrides=list(overrides), working_dir=working_dir, status=JobStatus.FAILED)
    returned.return_value = error
    return returned
