"""A config loaded from an earlier run or a file of another format, and the copy of it that is kept."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from omegaconf import DictConfig, open_dict

from trainctl.config import yaml
from trainctl.config.keys import leaves, split

# `exact`: types are as they were; `plain`: a float may have become an int, a NaN null; `text`: all values are text
Form = Literal["exact", "plain", "text"]

NEVER_LOADED = ("hydra", "trainctl")  # these say how a run is started and watched, not what it computes
GROUP, UNKNOWN_GROUP = "from", "from_unknown"  # config groups: `+from=KIND/PLACE`, `+from_unknown=drop`
SCHEME = "trainctl-from"  # of the config source that has them
_NODE = "trainctl_from"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A loaded config and where it came from.

    Attributes:
        source: as the user wrote it: `run/outputs/train/Norm_new`.
        origin: where it was found: a run dir with a step, a file, a run on a server.
        values: nested, as OmegaConf takes them: what is text in them is escaped.
        form: how much of its types a value still has.
        is_own: the files belong to the user, so their interpolations are meant; in other sources an interpolation that
            the target does not have itself is refused.
        is_record: a server's record of a run; keys that depend on when and where it ran stay as the config has them.
        choices: config group -> option, of a run of Hydra; None where it had none.
        help: dotted key -> the comment above it in the file.
        at: the dotted key below which it was loaded (`+from@KEY=…`); empty for the whole config.
        notes: what was left out of it and why, each as the end of a sentence; not kept in its copy.
    """

    source: str
    origin: str
    values: dict[Any, Any]
    form: Form = "exact"
    is_own: bool = False
    is_record: bool = False
    choices: dict[str, str | None] = field(default_factory=dict)
    help: dict[str, str] = field(default_factory=dict)
    at: str = ""
    notes: tuple[str, ...] = ()

    @property
    def override(self) -> str:
        """The override that loads it.

        >>> Loaded("json/b.json", "/b.json", {}, at="model").override
        '+from@model=json/b.json'
        """
        return f"+{GROUP}{f'@{self.at}' if self.at else ''}={self.source}"

    def to_dict(self) -> dict[str, Any]:
        """Return the entry for `run.yaml`."""
        left_out = ("notes",) if self.at else ("notes", "at")
        return {key: value for key, value in dataclasses.asdict(self).items() if key not in left_out}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Loaded:
        """Read the output of `to_dict`.

        Raises:
            TypeError: it is something else.
        """
        return cls(**record)


def keep_copies(hydra: DictConfig, loaded: Iterable[Loaded]) -> None:
    """Keep the loaded configs in the composed config's `hydra` node, which reaches the process that runs the job.

    They are stored as one text without a dollar sign, so that nothing in them is taken for an interpolation.
    """
    text = json.dumps(yaml.dumps([each.to_dict() for each in loaded])).replace("$", "\\u0024")
    with open_dict(hydra.runtime):
        hydra.runtime[_NODE] = text


def comments_of(copies: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the comments of sources on keys, by dotted key, from the records of their copies; later sources win.

    The records may come from a `run.yaml`: comments that are not text are skipped.
    """
    found: dict[str, str] = {}
    for each in copies:
        said = each.get("help")
        if isinstance(said, Mapping):
            found |= {_full(each, str(key)): text for key, text in said.items() if isinstance(text, str)}
    return found


def values_of(copy: Mapping[str, Any]) -> dict[str, Any]:
    """Return the loaded values of a copy by full dotted key, named as the source names them."""
    return {
        _full(copy, key): value for key, value in leaves(copy["values"]).items() if split(key)[0] not in NEVER_LOADED
    }


def _full(copy: Mapping[str, Any], key: str) -> str:
    return f"{copy['at']}.{key}" if copy.get("at") else key


def kept_copies(hydra: DictConfig | None) -> list[dict[str, Any]]:
    """Return the copies that `keep_copies` left in a `hydra` node, as records."""
    text = None if hydra is None else hydra.runtime.get(_NODE)
    records: list[dict[str, Any]] = [] if text is None else yaml.loads(json.loads(text))
    return records
