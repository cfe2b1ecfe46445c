"""The steps of Hydra that a source goes through, as they are without us. Importing this changes nothing."""

from __future__ import annotations

from typing import Any

from hydra._internal import config_loader_impl, defaults_list

listing: Any = defaults_list
loader: Any = config_loader_impl.ConfigLoaderImpl
hydra_defaults_list = listing.create_defaults_list
hydra_list = listing._create_defaults_list
hydra_finished = listing.DefaultsList
hydra_compose = loader._compose_config_from_defaults_list
