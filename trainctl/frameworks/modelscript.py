"""A `ConfigScript` of a torch module, which loads its checkpoint and goes to its device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from trainctl.config.script import ConfigScript, MetaConfig
from trainctl.errors import ScriptError


@dataclass
class ConfigModelScript(ConfigScript):
    """A config whose `unroll` builds a `torch.nn.Module`.

    Attributes:
        checkpoint_path: a state dict to load, relative to the project's root; only tensors and plain values are read.
        strict_load: refuse a state dict whose keys are not the module's.
        device: where the module goes; else that of the `MetaConfig`.
    """

    checkpoint_path: str | None = None
    strict_load: bool = True
    device: str | None = None

    def finish(self, metaconfig: MetaConfig, built: Any) -> Any:
        """Load the checkpoint and move the module.

        Raises:
            ScriptError: there is no such file, or it holds no state dict for this module.
        """
        path = metaconfig.path(self.checkpoint_path)
        if path is not None:
            try:
                built.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=self.strict_load)
            except Exception as error:  # unpickling raises whatever it likes
                text = " ".join(str(error).split())
                raise ScriptError(
                    f"{type(self).__name__}.checkpoint_path={path}: {type(error).__name__}: {text}"
                ) from error
        return built.to(self.device or metaconfig.device)


ConfigScriptModel = ModelConfigScript = ConfigModelScript  # as versions of micro_config call it
