"""The two steps of Hydra as they are without us."""

from __future__ import annotations

from typing import Any

from hydra._internal import config_loader_impl

loader_module: Any = config_loader_impl
hydra_defaults_list = loader_module.create_defaults_list
hydra_compose = loader_module.ConfigLoaderImpl._compose_config_from_defaults_list
