"""The config of a W&B run: from a server, or from the directory of an offline run."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

import wandb
from wandb.proto import wandb_internal_pb2

from trainctl.config.keys import nested
from trainctl.config.loaded import Loaded
from trainctl.config.values import literal
from trainctl.errors import SourceError, UnreadableError
from trainctl.formats.leveldb_log import read_records
from trainctl.rundir import files
from trainctl.sources.files import FILES, parse_yaml, read_record, read_text, unread
from trainctl.track.net import check_reachable

_OWN_KEYS = ("_wandb", "_trainctl")  # of clients, not of the user's config
_TIMEOUT_S = 20
_MOST_LOG = 2**30  # bytes of an offline run's records
_PART = re.compile(r"[\w-][\w. -]*")  # an entity, a project, the id of a run
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?")
_PUBLIC = ("wandb.ai", "www.wandb.ai", "app.wandb.ai")
_FORM = "ENTITY/PROJECT/RUN, or the address that a browser shows for a run"


def read_wandb(source: str, place: str) -> Loaded:
    """Read `ENTITY/PROJECT/RUN` or a browser's address; server and key as for W&B: `WANDB_BASE_URL`, `WANDB_API_KEY`.

    Raises:
        SourceError: the server does not answer, or has no such run for this key.
    """
    run = parse_wandb(place)
    own = (os.environ.get("WANDB_BASE_URL") or wandb.setup().settings.base_url).rstrip("/")
    host = run.host or own
    if host != own and "WANDB_API_KEY" in os.environ:
        raise SourceError(
            f"+from={source}: the run is on {host}, but WANDB_API_KEY is for {own}; set WANDB_BASE_URL={host} to use it"
        )
    try:
        check_reachable(host, _TIMEOUT_S)
        found = wandb.Api(overrides={"base_url": run.host} if run.host else None, timeout=_TIMEOUT_S).run(run.path)
        values: dict[str, Any] = dict(found.config)
        texts = _download(found)
    except Exception as error:
        raise unread(source, f"{run.path} cannot be read from {host}", error) from error
    return _loaded(source, f"{run.path} on {host}", values, texts)


def _download(run: Any) -> dict[str, str]:
    """Return the texts of the files that trainctl left there, by name."""
    texts: dict[str, str] = {}
    with TemporaryDirectory() as directory:
        for file in run.files(names=list(FILES)):
            if file.name in FILES and file.size:
                if file.size > files.MOST_BYTES:
                    raise ValueError(f"its {file.name} has {file.size} bytes, which is not a config")
                file.download(root=directory, replace=True).close()
                texts[file.name] = read_text(Path(directory, file.name), run.id)
    return texts


def read_wandb_offline(source: str, place: str) -> Loaded:
    """Read the directory of an offline run: `wandb/offline-run-…`.

    Raises:
        SourceError: it is not such a directory, or has no config.
    """
    path = Path(place).expanduser().absolute()
    texts = {name: read_text(path / "files" / name, source) for name in FILES if os.path.lexists(path / "files" / name)}
    written = path / "files" / "config.yaml"
    logs = sorted(path.glob("*.wandb"))
    values: dict[str, Any] = {}
    if os.path.lexists(written):
        content = parse_yaml(read_text(written, source), f"+from={source}", aliases=False)
        values = {key: value["value"] for key, value in content.items() if isinstance(value, dict) and "value" in value}
    elif logs:
        values = _logged_config(logs[0], source)
    elif not texts:
        raise SourceError(f"+from={source}: {str(path)!r} is not the directory of an offline W&B run")
    return _loaded(source, str(path), values, texts)


def _loaded(source: str, origin: str, values: dict[str, Any], texts: dict[str, str]) -> Loaded:
    record = read_record(source, origin, texts)
    if record is not None:
        return record
    own = {key: value for key, value in values.items() if key not in _OWN_KEYS}
    return Loaded(source, origin, literal(nested(own, f"+from={source}")), form="plain", is_record=True)


def _logged_config(path: Path, source: str) -> dict[str, Any]:
    """Return the config that the records of a `.wandb` file lead to."""
    values: dict[str, Any] = {}
    try:
        data = files.read_bytes(path, _MOST_LOG)
    except UnreadableError as error:
        raise SourceError(f"+from={source}: {str(path)!r} cannot be read ({error.why})") from error
    if not data.startswith(b":W&B"):
        raise SourceError(f"+from={source}: {str(path)!r} is not a log of W&B")
    for part in read_records(data):
        record = wandb_internal_pb2.Record.FromString(part)
        for change in (record.run.config, record.config):
            for item in change.update:
                _put(values, list(item.nested_key) or [item.key], json.loads(item.value_json))
            for item in change.remove:
                _remove(values, list(item.nested_key) or [item.key])
    return values


def _put(values: dict[str, Any], parts: list[str], value: Any) -> None:
    for part in parts[:-1]:
        if not isinstance(values.get(part), dict):
            values[part] = {}
        values = values[part]
    values[parts[-1]] = value


def _remove(values: dict[str, Any], parts: list[str]) -> None:
    for part in parts[:-1]:
        below = values.get(part)
        if not isinstance(below, dict):
            return
        values = below
    values.pop(parts[-1], None)


@dataclass(frozen=True, slots=True)
class WandbRun:
    """A run on a W&B server.

    Attributes:
        host: scheme and host of a server of one's own; None for that of the environment (`WANDB_BASE_URL`, wandb.ai).
    """

    entity: str
    project: str
    run: str
    host: str | None = None

    @property
    def path(self) -> str:
        """What W&B's own API takes."""
        return f"{self.entity}/{self.project}/{self.run}"


def parse_wandb(text: str) -> WandbRun:
    """Read `ENTITY/PROJECT/RUN` or the address of any page of a run.

    >>> parse_wandb("https://wandb.ai/ada/digits/runs/1a2b/overview?workspace=user-ada").path
    'ada/digits/1a2b'
    >>> parse_wandb("http://wandb.lab.example:8080/ada/digits/runs/1a2b")
    WandbRun(entity='ada', project='digits', run='1a2b', host='http://wandb.lab.example:8080')

    Raises:
        SourceError: it names no run.
    """
    given = unquote(text.strip())
    host, is_address = None, "://" in given
    if is_address:
        host, given = _split(text, given)
    parts = [part for part in given.split("?")[0].split("#")[0].split("/") if part]
    if len(parts) > 3 and parts[2] == "runs":
        parts = [*parts[:2], parts[3]]  # what follows is a tab of the page
    elif is_address and len(parts) > 2:
        raise SourceError(f"{text!r} is not a page of a run (…/runs/ID); a run is given as {_FORM}")
    if len(parts) != 3 or not all(_PART.fullmatch(part) for part in parts):
        raise SourceError(f"{text!r} names no W&B run; it is given as {_FORM}")
    entity, project, run = parts
    return WandbRun(entity, project, run, host)


def _split(text: str, given: str) -> tuple[str | None, str]:
    """Return the server, None for the public one, and the path."""
    try:
        address = urlsplit(given)
        port = address.port
    except ValueError:
        raise SourceError(f"{text!r} is not an address; a run is given as {_FORM}") from None
    name = address.hostname or ""
    host = f"{name}:{port}" if port else name
    if address.scheme not in ("http", "https") or address.username is not None or not _HOST.fullmatch(host):
        raise SourceError(f"{text!r} is not an address of a W&B server; a run is given as {_FORM}")
    return (None if name in _PUBLIC else f"{address.scheme}://{host}"), address.path
