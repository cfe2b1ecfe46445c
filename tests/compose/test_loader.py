"""A shared composition is what Hydra's own composition would be, to the last flag."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from trainctl.compose.frozen import FrozenRepository
from trainctl.compose.loader import SharingLoader

pytestmark = pytest.mark.skipif(
    not hydra.__version__.startswith("1.3."), reason="other versions of Hydra compose every job in full"
)

FILES = {
    "config.yaml": """
defaults: [db: mysql, "db@backup": postgres, optional server: null, exp: null, _self_]
lr: 0.1
name: run_${lr}_${now:%Y}
home: ${oc.env:TRAINCTL_TEST_HOME}
deep: {list: [1, 2], map: {a: 1, b: "${lr}"}, none: null, missing: "???"}
same_db: ${db.driver}
hydra: {job: {config: {override_dirname: {exclude_keys: [deep.map.a]}}}}
""",
    "db/mysql.yaml": "driver: mysql\nport: 3306\nurl: ${.driver}:${.port}\n",
    "db/postgres.yaml": "driver: postgres\nport: 5432\ntimeout: 10\n",
    "server/apache.yaml": "defaults: [/db@inner: mysql]\nhost: a\n",
    "server/nginx.yaml": "# @package web.front\nhost: n\n",
    "exp/big.yaml": "# @package _global_\ndefaults: [override /db: postgres]\nlr: 7\ndb: {port: 1}\n",
}

CHOICES = [
    *["db=mysql", "db=postgres", "db@backup=mysql", "+server=apache", "+server=nginx", "exp=big", "~db", "+exp@x=big"],
    *["lr=0.5", "lr=1e-3", "lr='0.1'", "lr=null", "name=plain", "deep.list=[3,4]", "deep.list=[]", "deep.map.a=2"],
    *["deep.map={a:5}", "deep.missing=1", "deep={none:2}", "db.port=1", "db.driver=x", "db={port:9}", "backup.port=2"],
    *["+new=1", "+deep.map.c=3", "++lr=2", "++deep.map.z=[1]", "~deep.none", "~deep.map.a", "+server.host=q"],
    *[
        "same_db=${lr}",
        "deep.map.b=${deep.list}",
        "home=there",
        "nosuch=1",
        "db.nosuch=2",
        "deep.list.0=9",
        "db@q=mysql",
    ],
    *["lr=a=b", "name='a,b'", 'name="x y"', "deep.map.a=[{b:1}]", "web.front.host=z", "inner.port=3"],
]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TRAINCTL_TEST_HOME", "/home/x")
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with initialize_config_dir(str(tmp_path), version_base="1.3", job_name="app"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", ["hydra.verbose=false", "lr=1,2"], RunMode.MULTIRUN)
        OmegaConf.select(master, "name")  # a value that is resolved once for all jobs
        yield loader, master
    HydraConfig.instance().cfg = None


def compose(loader: Any, master: DictConfig, overrides: list[str]) -> tuple[str, Any]:
    """Return what came out in full detail: values, flags and types of every node; or the error's text."""
    try:
        config = loader.load_sweep_config(master, list(overrides))
    except Exception as error:  # noqa: BLE001  # whatever Hydra raises is to be raised just so
        return type(error).__name__, str(error)
    return "ok", describe(config)


def describe(node: Any) -> Any:
    """Return all of a node: what it holds, its flags and types, and what it has resolved already."""
    metadata = dict(vars(node._metadata))
    metadata["resolver_cache"] = {name: dict(cache) for name, cache in metadata.get("resolver_cache", {}).items()}
    content = node._value() if not OmegaConf.is_config(node) else node._content
    if isinstance(content, dict):
        content = [(key, describe(value)) for key, value in content.items()]
    elif isinstance(content, list):
        content = [describe(value) for value in content]
    return type(node).__name__, content, metadata


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 10))])
def test_loader_shares_exactly(sweep: Any, seed: int) -> None:
    loader, master = sweep
    frozen = copy.copy(loader)
    frozen.repository = FrozenRepository(loader.repository)
    sharing = SharingLoader(frozen)
    draw = random.Random(seed)
    outcomes = set()
    for _ in range(100):
        overrides = draw.sample(CHOICES, draw.randint(0, 5))
        expected = compose(loader, master, overrides)
        assert compose(sharing, master, overrides) == expected, overrides
        outcomes.add(expected[0])
    assert "ok" in outcomes
    assert len(outcomes) > 1, "errors are to be compared too"


def test_frozen_repository_answers_as_the_dir_did(sweep: Any, tmp_path: Path) -> None:
    loader, _ = sweep
    (tmp_path / "empty").mkdir()
    (tmp_path / "db" / "nested").mkdir()
    frozen = FrozenRepository(loader.repository)
    for group in ("", "db", "empty", "exp", "nosuch", "hydra/launcher", "db/nested"):
        assert frozen.group_exists(group) == loader.repository.group_exists(group), group
        for kind in (None, ObjectType.CONFIG, ObjectType.GROUP):
            expected = loader.repository.get_group_options(group, kind)
            assert frozen.get_group_options(group, kind) == expected, (group, kind)
    for name in ("config", "db/mysql", "db/mysql.yaml", "db/nosuch", "nosuch", "hydra/config", "hydra/launcher/slots"):
        assert frozen.config_exists(name) == loader.repository.config_exists(name), name
        assert frozen.load_config(name) == loader.repository.load_config(name), name
    for path in tmp_path.rglob("*.yaml"):
        path.write_text("edited: true\n")
    assert frozen.load_config("db/mysql").config.driver == "mysql"
    assert copy.deepcopy(frozen).load_config("db/postgres").config.driver == "postgres"


def test_loader_gives_each_job_its_own_copy(sweep: Any) -> None:
    loader, master = sweep
    sharing = SharingLoader(loader)
    first = sharing.load_sweep_config(master, ["lr=5"])
    first.deep.map.a = "changed"
    assert sharing.load_sweep_config(master, ["lr=5"]).deep.map.a == 1


def test_loader_composes_once_for_values_alone(sweep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loader, master = sweep
    composed = []
    full = loader.load_sweep_config
    monkeypatch.setattr(loader, "load_sweep_config", lambda *args: composed.append(args) or full(*args))
    sharing = SharingLoader(loader)
    for number in range(20):
        assert sharing.load_sweep_config(master, [f"lr={number}", "db=postgres"]).lr == number
    assert len(composed) == 1
