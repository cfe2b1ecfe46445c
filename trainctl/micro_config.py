"""The names of micro_config (https://github.com/Sea-Snell/micro_config), those of earlier versions too.

Its projects and its demo work with `from micro_config import …` changed to `from trainctl.micro_config import …`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainctl.config.script import (
    ConfigScript,
    ConfigScriptDict,
    ConfigScriptList,
    ConfigScriptNoCache,
    MetaConfig,
    deep_replace,
    parse_args,
    unroll,
)

if TYPE_CHECKING:
    from trainctl.frameworks.modelscript import ConfigModelScript, ConfigScriptModel, ModelConfigScript

__all__ = [
    "ConfigModelScript",
    "ConfigScript",
    "ConfigScriptDict",
    "ConfigScriptList",
    "ConfigScriptModel",
    "ConfigScriptNoCache",
    "MetaConfig",
    "ModelConfigScript",
    "convert_path",
    "deep_replace",
    "parse_args",
    "unroll",
]


def convert_path(path: str | None) -> str | None:
    """Return a path as an absolute one, below the working directory if it is relative; None is None."""
    return MetaConfig().path(path)


def __getattr__(name: str) -> Any:
    """Import the class of torch modules when it is asked for: no other needs torch."""
    if name in ("ConfigModelScript", "ConfigScriptModel", "ModelConfigScript"):
        from trainctl.frameworks.modelscript import ConfigModelScript

        return ConfigModelScript
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
