"""Values that a config still waits for: `???`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig

from trainctl.config import keys
from trainctl.errors import MissingError

_MISSING = "???"


def missing_keys(config: DictConfig) -> list[str]:
    """Return the dotted keys whose value is `???`, sorted; not those of Hydra's node, nor references to missing values.

    >>> from omegaconf import OmegaConf
    >>> missing_keys(OmegaConf.create({"a": {"b": "???"}, "c": "${a.b}", "d": [1, "???"], "hydra": {"x": "???"}}))
    ['a.b', 'd.1']
    """
    return sorted(keys.join(path) for path in _missing(config, ()) if path[0] != "hydra")


def check_missing(config: DictConfig, subject: str = "", advice: str = "") -> None:
    """Refuse a config that lacks values.

    Raises:
        MissingError: naming all of them.
    """
    missing = missing_keys(config)
    if missing:
        raise MissingError(f"{subject}these values are missing: {', '.join(missing)}{advice}")


def _missing(container: DictConfig | ListConfig, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    # past OmegaConf's own access, which resolves references, and takes ten times as long
    content: Any = container.__dict__["_content"]
    if not isinstance(content, dict | list):
        if content == _MISSING and above:
            yield above
        return
    for key, node in content.items() if isinstance(content, dict) else enumerate(content):
        path = (*above, str(getattr(key, "name", key)))
        if isinstance(node, DictConfig | ListConfig):
            if above or key != "hydra":
                yield from _missing(node, path)
        elif node._value() == _MISSING:
            yield path
