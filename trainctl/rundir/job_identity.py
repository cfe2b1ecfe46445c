"""The identity of a job: program, task function, environment and config, as recorded in `run.yaml`, and its values."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from trainctl.config._omegaconf import entries, plain, resolved, text_of, walk
from trainctl.config.drawn import drawn_texts
from trainctl.config.identity import OF_THE_MOMENT, combined, counts, environment_identity, identity
from trainctl.config.keys import dotted, leaves
from trainctl.config.masking import Masking
from trainctl.config.snapshot import is_plain, plain_value
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.rundir.program import Program, relative
from trainctl.rundir.provenance import original_cwd
from trainctl.text import clean_line, one_line

_MOST, _LONGEST = 3, 60  # keys that are named, characters of a value
_CALL, _WORD = re.compile(r"\$\{\s*[A-Za-z_][\w.]*\s*:"), re.compile(r"\w+")
_REFERRED = re.compile(r"\$\{\s*([^\s:{}]+)\s*\}")
_ABSENT = object()
_NAMELESS = "cannot be told from this job, whose task function has no name to import it by"
_ENVIRONMENT = "had another hydra.job.env_set"


@dataclass(frozen=True, slots=True)
class JobValues:
    """The values of one job.

    Attributes:
        resolved: the results of resolver calls (`${oc.env:DATA}`), by dotted key, without possible secrets.
    """

    config: DictConfig
    exclude: Sequence[str]
    drawn: Mapping[str, str]
    masking: Masking
    resolved: Mapping[str, Any]

    @classmethod
    def of(
        cls, config: DictConfig, exclude: Sequence[str], drawn: Mapping[str, str], hidden: Sequence[str] = ()
    ) -> JobValues:
        """Return the values of a job's config; `hidden` are patterns of further secret keys."""
        masking = Masking({}, hidden)
        resolved = {
            key: value
            for key, text, value in _called(config)
            if all(name not in drawn and counts(name, exclude) for name in (key, *_REFERRED.findall(text)))
            and not any(map(masking.hides, (key, *_WORD.findall(text))))
        }
        return cls(config, exclude, drawn, masking, resolved)

    def difference(self, resolved: Any, run: RunDir) -> str:
        """Say which keys have other values in a recorded run: `differs (data.path: /a -> /b)`; empty if it is unknown.

        Args:
            resolved: what the run has recorded of its resolved values.
            run: it has the config as Hydra wrote it.
        """
        there = self._counting({**leaves(files.read_mapping(run.config)), **_as_mapping(resolved)})
        if not there:
            return ""
        own = {key: plain_value(plain(node)) for key, node in entries(self.config) if key != "hydra"}
        here = self._counting({**leaves(own), **self.resolved})
        pairs = {key: (_said(there.get(key, _ABSENT)), _said(here.get(key, _ABSENT))) for key in {**there, **here}}
        changed = [
            f"{key} has another value" if self.masking.hides(key) else f"{key}: {before} -> {now}"
            for key, (before, now) in pairs.items()
            if before != now
        ]
        more = [f"{len(changed) - _MOST} more"] if len(changed) > _MOST else []
        return f"differs ({', '.join([*changed[:_MOST], *more])})" if changed else ""

    def _counting(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in values.items() if key not in self.drawn and counts(key, self.exclude)}


def _called(config: DictConfig) -> Iterator[tuple[str, str, Any]]:
    """Yield key, text and value of every call of a resolver that has a plain value now."""
    for leaf in walk(config, skip=("hydra",)):
        text = text_of(leaf.node)
        if text is None or _CALL.search(text) is None or OF_THE_MOMENT.search(text):
            continue
        with contextlib.suppress(Exception):  # a resolver is the user's code; who reads the key meets what it raises
            value = plain_value(resolved(leaf.container, leaf.path[-1], leaf.node))
            if is_plain(value):
                yield dotted(leaf.path), text, value


def _as_mapping(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _said(value: Any) -> str:
    text = "not set" if value is _ABSENT else value if isinstance(value, str) else one_line(value)
    return clean_line(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")


@dataclass(frozen=True, slots=True)
class JobIdentity:
    """The identity of one job.

    Attributes:
        text: a hash of everything; empty if the config is empty.
        config: a hash of the config alone, which was the whole identity before `run.yaml` named the program.
        environment: a hash of `hydra.job.env_set`; empty when it sets nothing.
        values: the values that distinguish the job's config.
    """

    text: str
    config: str
    program: Program
    environment: str
    raw_environment: Any
    values: JobValues

    @classmethod
    def of(
        cls,
        config: DictConfig,
        exclude: list[str],
        program: Program,
        only: str = "",
        drawn: Mapping[str, str] | None = None,
        hidden: Sequence[str] = (),
    ) -> JobIdentity:
        """Return the identity of a job.

        Args:
            config: the job's, with its `hydra` node if there is one.
            exclude: patterns of keys that do not count, as `identity` takes them.
            program: what runs it.
            only: a unique text for a job without an identity, so that it equals no other job.
            drawn: the interpolations whose values are drawn, by dotted key; looked for where it is None.
            hidden: patterns of keys whose values are not to be recorded.
        """
        drawn = drawn_texts(config) if drawn is None else drawn
        own, environment = identity(config, exclude, drawn), environment_identity(config, exclude, drawn)
        raw = OmegaConf.select(config, "hydra.job.env_set")
        raw = OmegaConf.to_container(raw) if raw else {}
        is_named = program.function is not None
        text = combined(own, program.name, program.function or only, environment) if own or not is_named else ""
        return cls(text, own, program, environment, raw, JobValues.of(config, exclude, drawn, hidden))

    def record(self, run: RunDir) -> dict[str, Any]:
        """Return the entries of `run.yaml` in a run dir."""
        program = {
            "name": self.program.name,
            "file": self.program.script,
            "from_here": _from_here(self.program, run),
            "function": self.program.function,
            "env_set": self.environment or None,
        }
        resolved = {"resolved": self.values.resolved} if self.values.resolved else {}
        return {"identity": self.text, "program": program, **resolved}

    def owns(self, record: Mapping[str, Any], run: RunDir) -> bool:
        """Whether a `run.yaml` belongs to this job."""
        expected = self.config if is_earlier(record) else self.text
        return record.get("identity") == expected and not self.difference(record, run)

    def difference(self, record: Mapping[str, Any], run: RunDir) -> str:
        """Say which other program, function or environment a recorded run has; empty if they agree.

        A program elsewhere with the same path in its project is the same one moved, unless both are there. A record of
        an older version names neither function nor environment; Hydra's own record has the latter.
        """
        known: Mapping[str, Any] = {} if is_earlier(record) else record["program"]
        file = known["file"] if "file" in known else _earlier_file(record)
        if not self._is_program(record, known, file, run):
            there, here = known.get("name"), self.program.name
            if there in (None, here):
                there, here = file, self.program.script or here
            return f"is of another program, {there} (this is {here})"
        if self.program.function is None:
            return "" if known and record.get("identity") == self.text else _NAMELESS
        if not known:
            return "" if _earlier_environment(run) == self.raw_environment else _ENVIRONMENT
        if known.get("function") != self.program.function:
            other = known.get("function") or "one that cannot be imported by name"
            return f"is of another task function, {other} (this is {self.program.function})"
        return "" if (known.get("env_set") or "") == self.environment else _ENVIRONMENT

    def why_not(self, record: Mapping[str, Any], run: RunDir) -> str:
        """Say why a recorded run does not belong to this job: by `difference`, or by keys with other values."""
        return self.difference(record, run) or self.values.difference(record.get("resolved"), run)

    def _is_program(self, record: Mapping[str, Any], known: Mapping[str, Any], file: Any, run: RunDir) -> bool:
        own_script = self.program.script
        if known and known.get("name") != self.program.name:
            return False
        if own_script is None:  # installed
            return bool(known) or _has_module(record, self.program.name)
        if known and known.get("from_here") == _from_here(self.program, run):
            return True
        if not isinstance(file, str):
            return False
        if os.path.exists(file):
            return os.path.realpath(file) == own_script
        return bool(known) or relative(file, str(record.get("cwd"))) == relative(own_script, str(original_cwd()))


def is_earlier(record: Mapping[str, Any]) -> bool:
    """Whether a `run.yaml` is of an older version, in which the identity was a hash of the config alone."""
    return not isinstance(record.get("program"), dict)


def adopt(run: RunDir, own: JobIdentity) -> None:
    """Update the `run.yaml` of an older version with the identity of the job that has recognised it.

    Raises:
        OSError: it cannot be written.
    """
    record = files.read_mapping(run.run)
    if is_earlier(record):
        files.write_yaml(run.run, {**record, **own.record(run)})


def _from_here(program: Program, run: RunDir) -> str | None:
    """Return the relative path from a run dir to the program, which stays valid if both are moved together."""
    return None if program.script is None else os.path.relpath(program.script, os.path.realpath(run.path))


def _has_module(record: Mapping[str, Any], name: str) -> bool:
    if record.get("module") is not None:
        return bool(record["module"] == name)
    return Path(str(record.get("script"))).stem == name.rpartition(".")[2]


def _earlier_file(record: Mapping[str, Any]) -> Any:
    """Return the program's file if only `script` and `argv` are recorded."""
    argv = record.get("argv")
    if record.get("module") != "trainctl.commands" or not isinstance(argv, list):
        return record.get("script")
    flags = dict(zip(map(str, argv), map(str, argv[1:]), strict=False))
    return os.path.join(flags.get("--config-path", ""), f"{flags.get('--config-name')}.yaml")


def _earlier_environment(run: RunDir) -> Any:
    """Return `hydra.job.env_set` as recorded by Hydra; empty if it is not."""
    found: Any = files.read_mapping(run.path / ".hydra" / "hydra.yaml")
    for key in ("hydra", "job", "env_set"):
        found = found.get(key) if isinstance(found, dict) else None
    return found or {}
