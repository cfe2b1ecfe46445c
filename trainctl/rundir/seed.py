"""The seed of a run, recorded so that the run can be repeated."""

from __future__ import annotations

import random
import secrets
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, flag_override

from trainctl.config.settings_node import NODE, kept_node, own_node
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir


def choose_seed(given: int | None, run: RunDir, replay: Path | None) -> int:
    """Return the seed of a run: the given one, else the replayed run's, else an earlier attempt's, else a drawn one."""
    if given is not None:
        return given
    if replay is not None:
        recorded = recorded_seed(replay)
        if recorded is not None:
            return recorded
    earlier = files.read_mapping(run.run).get("seed")
    return earlier if isinstance(earlier, int) else secrets.randbelow(2**32)


def recorded_seed(path: Path) -> int | None:
    """Read the seed recorded in a run dir or a changelog file; None if there is none."""
    if path.is_dir():
        seed: Any = files.read_mapping(RunDir.at(path).run).get("seed")
    else:
        changelog: dict[Any, Any] = files.read_mapping(path)
        base = changelog.get(0)
        settings = base.get(NODE) if isinstance(base, dict) else None
        seed = settings.get("seed") if isinstance(settings, dict) else None
    return seed if isinstance(seed, int) else None


def write_seed(config: DictConfig, seed: int) -> None:
    """Write the seed into a config that has a `trainctl` node and no seed there.

    Where the settings lie apart from it, only for a reference: `${trainctl.seed}`.
    """
    settings = own_node(config)
    if settings is not None and settings.get("seed") is None and ("seed" in settings or kept_node(config) is None):
        with flag_override(config, "readonly", False):
            OmegaConf.update(config, f"{NODE}.seed", seed, force_add=True)


def note_seed(base: dict[Any, Any], seed: int) -> None:
    """Write the seed into a recorded config that has settings and no seed there."""
    settings = base.get(NODE)
    if isinstance(settings, dict) and settings.get("seed") is None:
        settings["seed"] = seed


def seed_libraries(seed: int, already: set[str]) -> None:
    """Seed `random`, NumPy and torch if they are loaded and not in `already`, and add them there.

    A library that is loaded later is seeded by the next call; none is seeded twice, since that would repeat
    numbers that the task has drawn meanwhile.
    """
    seeders: dict[str, Any] = {
        "random": lambda: random.seed(seed),
        "numpy": lambda: sys.modules["numpy"].random.seed(seed),
        "torch": lambda: sys.modules["torch"].manual_seed(seed),
    }
    for name, seeder in seeders.items():
        if name in sys.modules and name not in already:
            seeder()
            already.add(name)
