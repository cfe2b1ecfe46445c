"""Outside any Hydra app code with a live session runs as it is, and leaves nothing behind: a project's unit tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MODULE = """
import trainctl

class Model:
    p = 0.5

    def __init__(self):
        trainctl.current().bind(self, "p", "model.dropout")
        trainctl.current().log(made=1)

def train(cfg):
    live = trainctl.live(cfg)
    assert trainctl.live(cfg) is live is trainctl.current()
    model = Model()

    @live.on_edit
    def told(edit):
        raise AssertionError

    @live.action("sample")
    def sample(n: int):
        raise AssertionError

    for _ in live.track(range(3)):
        live.log(loss=1.0, p=model.p)
        assert not (live.should_stop or live.should_checkpoint or live.should_evaluate)
    live.epoch()
    state = live.state_dict()
    live.load_state_dict(state)
    live.resume(1)
    return live.step(), live.now.lr, live.seed, live.is_open
"""

TESTS = """
from omegaconf import OmegaConf
import module, trainctl

def test_model_alone():
    assert module.Model().p == 0.5
    assert not trainctl.current().is_open

def test_training():
    assert module.train(OmegaConf.create({"lr": 0.1})) == (2, 0.1, 0, False)
    assert module.train(OmegaConf.create({"lr": 0.2, "trainctl": {"seed": 7}})) == (2, 0.2, 7, False)
"""


def files_in(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir() if "cache" not in each.name}


def test_unit_tests_of_a_project_run_and_record_nothing(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(MODULE)
    (tmp_path / "test_module.py").write_text(TESTS)
    before = files_in(tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "test_module.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert "2 passed" in done.stdout, done.stdout
    assert files_in(tmp_path) == before


LIGHTNING = """
import lightning, torch, trainctl
from trainctl.frameworks.lightning import TrainctlCallback

class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        trainctl.current().bind(optimizer, lr="optim.lr")
        return optimizer
    def training_step(self, batch, index):
        return self.layer(batch).sum()

def trainer(folder):
    return lightning.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_checkpointing=False, enable_model_summary=False, callbacks=[TrainctlCallback()])

if __name__ == "__main__":
    trainer(".").fit(Model(), torch.utils.data.DataLoader(torch.ones(4, 1)))
    print("trained", trainctl.current().step_number)
"""


@pytest.mark.slow
def test_lightning_trains_outside_any_app(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    (tmp_path / "task.py").write_text(LIGHTNING)
    done = subprocess.run(
        [sys.executable, "task.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.endswith("trained 4\n"), done.stdout + done.stderr
    assert files_in(tmp_path) == {"task.py"}
