"""A Hydra app that knows nothing of trainctl, and earlier runs of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from trainctl.config import yaml
from trainctl.config.changelog import Changelog, Edit, dumps

CONF = {
    "config.yaml": """
defaults: [norm: batch, model: small, _self_]
lr: 0.1
lr_end: ${lr}
steps: 10
betas: [0.9, 0.999]
verbose: false
name: null
out: ${hydra:runtime.output_dir}/checkpoints
api_key: from the target
""",
    "norm/batch.yaml": "name: batch\nmomentum: 0.1\n",
    "norm/new.yaml": "name: new\ngroups: 4\n",
    "model/small.yaml": "width: 8\n",
    "model/big.yaml": "defaults: [act: relu]\nlayers: 12\n",
    "model/act/relu.yaml": "f: relu\n",
    "model/act/gelu.yaml": "f: gelu\napproximate: true\n",
    "extra/global.yaml": "# @package _global_\nsteps: 77\n",
}
# Hydra 1.4 warns of what 1.3 warns without
VERSION_BASE: dict[str, Any] = {"version_base": None} if hydra.__version__.startswith("1.3.") else {}
Compose = Callable[..., DictConfig]
MakeRun = Callable[..., Path]


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the app's config files, and be where it is started."""
    monkeypatch.chdir(tmp_path)
    for name, text in CONF.items():
        path = tmp_path / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "conf"


@pytest.fixture
def made(conf: Path) -> Compose:
    """Compose the app's config from overrides."""

    def make(*overrides: str, config_name: str = "config", whole: bool = False) -> DictConfig:
        with initialize_config_dir(str(conf), job_name="app", **VERSION_BASE):
            return compose(config_name, overrides=list(overrides), return_hydra_config=whole)

    return make


@pytest.fixture
def make_run(made: Compose, tmp_path: Path) -> MakeRun:
    """Leave a run dir as Hydra and, where edits are given, a live session leave it."""

    def make(path: str, *overrides: str, edits: list[Edit] | None = None) -> Path:
        config = made(*overrides, whole=True)
        run = tmp_path / path
        (run / ".hydra").mkdir(parents=True)
        choices = OmegaConf.to_container(config.hydra.runtime.choices)
        hydra = {"hydra": {"runtime": {"choices": choices}, "overrides": {"task": list(overrides)}}}
        plain: Any = OmegaConf.to_container(config)
        del plain["hydra"]
        (run / ".hydra" / "hydra.yaml").write_text(yaml.dumps(hydra))
        (run / ".hydra" / "config.yaml").write_text(yaml.dumps(plain))
        if edits is not None:
            recorded = {**plain, "out": str(run / "checkpoints"), "trainctl": {"seed": 3}}
            (run / "changelog.yaml").write_text(dumps(Changelog(recorded, edits)))
        return run

    return make
