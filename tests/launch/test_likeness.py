"""Jobs are called equal if, and only if, the configs that they compose to have the same identity."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

import trainctl
import trainctl.preset  # registers
from trainctl.compose.loader import share_compositions
from trainctl.compose.pairs import FittingLoader, known_to_hydra
from trainctl.config.identity import identity
from trainctl.config.settings import settings_of
from trainctl.errors import SettingError
from trainctl.launch.likeness import Job, Likenesses

CONFIG = """
defaults: [trainctl, norm: batch, likeness_optim@optim: sgd, _self_]
x: 1
y: ${x}
z: ${likeness_sum:${x},${workers}}
workers: 2
half: [0.5, "${x}"]
where: ${hydra:runtime.choices.norm}
at: ${now:%f}
empty: {}
needed: ???
trainctl: {identity: {exclude: [workers]}}
"""

FILES = {
    "norm/batch": "{name: batch, size: 16}",
    "norm/old": "{size: 16, name: batch}",
    "norm/new": "{name: new, size: '${x}', extra: {deep: 1}}",
    "norm/plain": "# @package _global_\nwhere: batch\nnorm: {name: batch, size: '${z}'}\n",
    "kind/a": "{}",
}

# what may be said of each key, or of keys that have to do with each other
PARTS = [
    ["x=1", "x=2", "x=1.0", "x=16", "x='${workers}'", "x='1'", "x=null", "x=[1,2]", "~x"],
    ["y=1", "y=2", "y='${x}'", "+y=1", "++y=1"],
    ["workers=2", "workers=3", "workers='${x}'"],
    ["z=3", "z=4", "z=5"],
    ["norm=batch", "norm=old", "norm=new", "norm=plain", "norm=nosuch"],
    ["norm.size=16", "norm.size='${optim.width}'", "norm.name=batch", "norm.extra.deep=1", "+norm.extra={deep: 1}"],
    ["optim.lr=1", "optim.lr=1.0", "optim.lr=0.1", "optim.lr=bad", "optim.layers=[1,2]", "optim.layers=['1',2]"],
    ["half.0=0.5", "half=[0.5,1]", "half=[0.5,'${y}']"],
    ["+empty.a=1", "+empty={a: 1}", "+new.a=1", "+new={a: 1}"],
    ["at='${now:%f}'", "where=batch"],
    ["needed=1", "needed='${x}'"],
    ["trainctl.poll_s=0.1", "trainctl.seed=1", "trainctl.seed=2", "trainctl.identity.exclude=[x]"],
]
JOBS = st.lists(
    st.lists(st.sampled_from(PARTS), unique_by=id, max_size=4).flatmap(
        lambda parts: st.tuples(*(st.sampled_from(part) for part in parts))
    ),
    min_size=2,
    max_size=7,
)

pairs = trainctl.Pairs("norm", "kind")
pairs.allow("*", "*")


@pairs.register("new", "a")
def configure(config: Any) -> None:
    config.norm.extra.deep = config.x
    config.optim.width = config.workers


@dataclass
class Sgd:
    lr: float = 0.1
    width: int = 16
    layers: list[int] = field(default_factory=lambda: [1, 2])


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    conf = tmp_path_factory.mktemp("likeness")
    for name, text in {"config": CONFIG, **FILES}.items():
        path = conf / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    store = ConfigStore.instance()
    store.store(group="likeness_optim", name="sgd", node=Sgd)
    OmegaConf.register_new_resolver("likeness_sum", lambda *given: sum(map(float, given)))
    sys.modules["likeness_pairs"] = sys.modules[__name__]
    with initialize_config_dir(str(conf), version_base="1.3", job_name="app"):
        share_compositions(context := SimpleNamespace(config_loader=GlobalHydra.instance().config_loader()))
        yield context.config_loader
    del store.repo["likeness_optim"], sys.modules["likeness_pairs"]
    OmegaConf.clear_resolver("likeness_sum")
    HydraConfig.instance().cfg = None


@pytest.fixture(scope="module", params=["plain", "pairs"])
def sweep(request: pytest.FixtureRequest, loader: Any) -> tuple[Any, FittingLoader]:
    chosen = ["+kind=a", "trainctl.pairs=likeness_pairs.pairs"] if request.param == "pairs" else []
    return loader.load_configuration("config", chosen, RunMode.MULTIRUN), FittingLoader(loader, None)


def composed(sweep: tuple[Any, FittingLoader], job: Job) -> str:
    """Return a job's identity as its process works it out; its words when it does not compose."""
    config, loader = sweep
    try:
        own = loader.load_sweep_config(config, list(job))
        with known_to_hydra(own):
            return identity(own, settings_of(own).identity.exclude)
    except (HydraException, OmegaConfBaseException, SettingError):
        return f"not composed: {sorted(job)}"


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(jobs=JOBS)
@example(jobs=[("x=1",), ("x=1", "y=1"), ("y=1",), ("x=2", "y=1"), ("x=2", "y=2"), ("x=2",)])
@example(jobs=[("norm=old",), ("norm=batch",), ("norm=plain",), ("norm=plain", "x=14"), ("norm=new", "x=16")])
@example(jobs=[("workers=2",), ("workers=3",), ("workers=3", "z=3"), ("workers=3", "z=4.0")])
@example(jobs=[("optim.lr=1",), ("optim.lr=1.0",), ("optim.layers=[1,2]",), ("optim.layers=['1',2]",), ()])
def test_jobs_are_equal_exactly_when_their_composed_configs_are(sweep: Any, jobs: list[Job]) -> None:
    config, loader = sweep
    jobs = [("needed=1", *job) if not any(line.startswith("needed") for line in job) else job for job in jobs]
    told = Likenesses(loader, config).tell(jobs)
    identities = [composed(sweep, job) for job in jobs]
    for first, second in itertools.combinations(range(len(jobs)), 2):
        equal = identities[first] == identities[second]
        assert (told[first] == told[second]) is equal, (jobs[first], jobs[second])
