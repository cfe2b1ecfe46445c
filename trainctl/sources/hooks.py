"""Where sources come into Hydra's composition; light, because every Hydra app of this Python passes here."""

from __future__ import annotations

from typing import Any

from trainctl.sources.groups import GROUP, UNKNOWN_GROUP
from trainctl.sources.seam import hydra_compose, hydra_defaults_list, loader_module


def install() -> None:
    """Lead two steps of Hydra through ours, in this process; without a source they are Hydra's own."""
    loader_module.create_defaults_list = _create_defaults_list
    loader_module.ConfigLoaderImpl._compose_config_from_defaults_list = _compose


def has_source(defaults: Any) -> bool:
    """Say whether a defaults list names a source."""
    return any(str(entry.config_path).startswith(f"{GROUP}/") for entry in defaults)


def _create_defaults_list(**options: Any) -> Any:
    is_asked = any(each.key_or_group in (GROUP, UNKNOWN_GROUP) for each in options["overrides_list"])
    if not is_asked:
        made = hydra_defaults_list(**options)
        if not has_source(made.defaults):
            return made
    from trainctl.sources.composing import create_defaults_list

    return create_defaults_list(**options)


def _compose(self: Any, defaults: Any, repo: Any) -> Any:
    if not has_source(defaults):
        return hydra_compose(self, defaults, repo)
    from trainctl.sources.composing import compose

    return compose(self, defaults, repo)
