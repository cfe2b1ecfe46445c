"""The address of a W&B run, from what a person copies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from trainctl.errors import SourceError

_PART = re.compile(r"[\w-][\w. -]*")  # an entity, a project, the id of a run
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?")
_PUBLIC = ("wandb.ai", "www.wandb.ai", "app.wandb.ai")
_FORM = "ENTITY/PROJECT/RUN, or the address that a browser shows for a run"


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
