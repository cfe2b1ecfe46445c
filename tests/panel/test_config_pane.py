"""The page's table of where values come from, made from the files of a run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from trainctl.config.changelog import Changelog, Edit, dumps
from trainctl.panel.data.run_view import RunRow, RunView, read_view
from trainctl.panel.widgets.config import Origins
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir

FILES = {
    "config.yaml": "defaults: [optim: sgd, _self_]\napi: {key: swordfish-1}\n",
    "optim/sgd.yaml": "lr: 0.1\n",
}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run as Hydra and a live session leave it."""
    for name, text in FILES.items():
        path = tmp_path / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with initialize_config_dir(str(tmp_path / "conf"), version_base="1.3"):
        config = compose("config", ["optim.lr=0.2", "api.key=swordfish-2"], return_hydra_config=True)
    run = RunDir.at(tmp_path / "outputs" / "run")
    run.create()
    (run.path / ".hydra").mkdir()
    own = OmegaConf.masked_copy(config, ["optim", "api"])
    OmegaConf.save(OmegaConf.masked_copy(config, ["hydra"]), run.path / ".hydra" / "hydra.yaml")
    OmegaConf.save(own, run.path / ".hydra" / "config.yaml")
    base = OmegaConf.to_container(own)
    assert isinstance(base, dict)
    files.write_yaml(run.run, {"name": "run"})
    run.changelog.write_text(dumps(Changelog(base, [Edit(7, {"optim.lr": 0.01}, who="<ada>", via="page")])))
    return run


def view_of(run: RunDir) -> RunView:
    return read_view(RunRow.of(run), [])


def cells(table: str) -> list[list[str]]:
    return [re.findall("<td[^>]*>(.*?)</td>", row) for row in re.findall("<tr>(.*?)</tr>", table)][1:]


def test_each_value_has_its_sources_and_no_secret_is_shown(run: RunDir) -> None:
    table = Origins().table(view_of(run))
    optim, api = cells(table)
    assert optim[:2] == ["optim.lr", "0.01"]
    assert re.match(r"edit at step 7.*&lt;ada&gt;", optim[2])
    assert re.match(r"0\.2 \(command line optim\.lr=0\.2\); 0\.1 \(.*conf/optim/sgd\.yaml \(optim=sgd in", optim[3])
    assert api[0] == "api.key"
    assert "swordfish" not in table
    assert "<ada>" not in table


def test_table_is_made_again_only_after_an_edit(run: RunDir) -> None:
    origins = Origins()
    before = origins.table(view_of(run))
    (run.path.parents[1] / "conf" / "optim" / "sgd.yaml").write_text("lr: 0.5\n")
    assert origins.table(view_of(run)) is before
    log = Changelog({"optim": {"lr": 0.2}}, [Edit(7, {"optim.lr": 0.01}), Edit(9, {"optim.lr": 0.02})])
    run.changelog.write_text(dumps(log))
    assert "0.5 (" in origins.table(view_of(run))


def test_what_cannot_be_told_is_a_sentence(run: RunDir) -> None:
    (run.path / ".hydra" / "hydra.yaml").write_text("hydra: {runtime: 3}\n")
    assert "hydra.yaml is not what Hydra writes: " in Origins().table(view_of(run))
    (run.path / ".hydra" / "hydra.yaml").unlink()
    assert "there is no .hydra/hydra.yaml" in Origins().table(view_of(run))
