"""A `Trainer` of Lightning under a live session: what a step is, what is handed on, what a checkpoint holds."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from open_sessions import OpenLive
from session_fixtures import EndRun

pytest.importorskip("lightning", reason="Lightning is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's own, about loggers, workers and PyTorch

import torch  # noqa: E402
from lightning.pytorch import LightningModule, Trainer  # noqa: E402
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ModelCheckpoint  # noqa: E402
from lightning.pytorch.loggers import CSVLogger  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

import trainctl  # noqa: E402
from trainctl.config.changelog import loads  # noqa: E402
from trainctl.config.yaml import loads as read  # noqa: E402
from trainctl.errors import SettingError  # noqa: E402
from trainctl.frameworks.lightning import TrainctlCallback  # noqa: E402
from trainctl.rundir.events import answer  # noqa: E402
from trainctl.rundir.inbox import file_request  # noqa: E402
from trainctl.rundir.paths import RunDir  # noqa: E402

BATCHES = 6


class Line(LightningModule):
    """Notes at each batch the step and the learning rate that the config says then."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.config, self.seen = config, []
        self.layer = torch.nn.Linear(1, 1)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.config.lr)
        trainctl.current().bind(optimizer, lr="lr")
        return optimizer

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen.append((batch_idx, trainctl.current().step_number, self.config.lr))
        loss = self.layer(batch).square().mean()
        self.log("loss", loss)
        return loss


class Adversaries(Line):
    """Two optimizers, stepped by hand: the second at every other batch only."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.automatic_optimization = False
        self.other = torch.nn.Linear(1, 1)

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(each.parameters(), lr=0.1) for each in (self.layer, self.other)]

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        loss = loss + self.other(batch).square().mean()
        first, second = self.optimizers()
        self.manual_backward(loss)
        first.step()
        if batch_idx % 2 == 0:
            second.step()
        first.zero_grad()
        second.zero_grad()


def trainer(path: Path, *callbacks: Any, **options: Any) -> Trainer:
    quiet = {"logger": False, "enable_model_summary": False, "enable_progress_bar": False, "accelerator": "cpu"}
    callbacks = callbacks or (TrainctlCallback(),)
    return Trainer(default_root_dir=path, callbacks=list(callbacks), **{"max_epochs": 1, **quiet, **options})


def data() -> DataLoader[Any]:
    return DataLoader(torch.linspace(-1, 1, BATCHES).reshape(BATCHES, 1), batch_size=1)


def test_batches_that_are_accumulated_are_one_step(open_live: OpenLive, tmp_path: Path) -> None:
    live = open_live({2: {"lr": 0.5}}, lr=0.1)
    model = Line(live.config)
    trainer(tmp_path, accumulate_grad_batches=4, max_epochs=2, enable_checkpointing=False).fit(model, data())
    steps = [(index, step) for index, step, _ in model.seen]
    assert steps == [(0, 1), (1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (0, 3), (1, 3), (2, 3), (3, 3), (4, 4), (5, 4)]
    assert [rate for *_, rate in model.seen] == [0.1] * 4 + [0.5] * 8


def test_two_optimizers_of_a_batch_are_one_step(open_live: OpenLive, tmp_path: Path) -> None:
    live = open_live({3: {"lr": 0.5}}, lr=0.1)
    model = Adversaries(live.config)
    fitted = trainer(tmp_path, enable_checkpointing=False)
    fitted.fit(model, data())
    assert fitted.global_step == 9  # Lightning counts each optimizer
    assert model.seen == [(index, index + 1, 0.1 if index < 2 else 0.5) for index in range(BATCHES)]


def test_edit_changes_the_optimizer_and_the_metrics_say_so(
    open_live: OpenLive, tmp_path: Path, logged: Callable[[str], dict[int, Any]]
) -> None:
    live = open_live({4: {"lr": 0.0}}, lr=0.1)
    model = Line(live.config)
    weights = []
    model.on_train_batch_end = lambda *_: weights.append(model.layer.weight.item())
    trainer(tmp_path, enable_checkpointing=False).fit(model, data())
    assert len(set(weights[:3])) == 3
    assert len(set(weights[2:])) == 1
    assert live.total == BATCHES
    assert logged("lr") == {1: 0.1, 4: 0.0}
    assert sorted(logged("loss")) == [1, 2, 3, 4, 5, 6]


class Scheduled(Line):
    """Shows the learning rate in the progress bar, as a module does that reads it from its optimizer."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.config.lr)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        trainctl.current().bind(optimizer, lr="lr")
        self.used: list[float] = []
        optimizer.register_step_pre_hook(lambda *_: self.used.append(optimizer.param_groups[0]["lr"]))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("shown", self.optimizers().param_groups[0]["lr"], prog_bar=True)
        self.log("scheduled", self.lr_schedulers().get_last_lr()[0], prog_bar=True)
        return super().training_step(batch, batch_idx)


class Noted(Callback):
    """Notes what the progress bar shows."""

    def __init__(self) -> None:
        self.shown: list[float] = []
        self.scheduled: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.shown.append(float(trainer.progress_bar_metrics["shown"]))
        self.scheduled.append(float(trainer.progress_bar_metrics["scheduled"]))


def test_everybody_reads_the_rate_that_is_used(open_live: OpenLive, tmp_path: Path) -> None:
    live = open_live({3: {"lr": 0.4}, 5: {"lr": 0.05}}, lr=0.1)
    model, noted, logger = Scheduled(live.config), Noted(), CSVLogger(tmp_path)
    callbacks = LearningRateMonitor("step"), TrainctlCallback(), noted  # whichever is first
    trainer(tmp_path, *callbacks, logger=logger, log_every_n_steps=1, enable_checkpointing=False).fit(model, data())
    assert model.used == pytest.approx([0.1, 0.1, 0.2, 0.2, 0.0125, 0.0125])
    assert noted.shown == noted.scheduled == pytest.approx(model.used)
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        monitored = [float(row["lr-SGD"]) for row in csv.DictReader(file) if row.get("lr-SGD")]
    assert monitored == pytest.approx(model.used)


def test_config_in_hyper_parameters_is_the_config_and_loggers_get_it_as_it_was(
    open_live: OpenLive, tmp_path: Path
) -> None:
    live = open_live({2: {"lr": 0.5}}, lr=0.1)
    model = Line(live.config)
    trainer(tmp_path, enable_checkpointing=False).fit(model, data())
    assert dict(model.hparams) == {"config": live.config}
    assert model.hparams["config"] is live.config
    assert live.config.lr == 0.5
    assert model.hparams_initial["config"].lr == 0.1  # what Lightning gives to its loggers


def test_hyper_parameters_in_a_checkpoint_are_those_that_the_module_was_made_with(
    open_live: OpenLive, tmp_path: Path
) -> None:
    live = open_live({2: {"lr": 0.5}}, lr=0.1)

    class Plain(Line):
        def __init__(self, lr: float) -> None:
            super().__init__(live.config)
            self.save_hyperparameters("lr")

    trainer(tmp_path).fit(Plain(lr=live.config.lr), data())
    (path,) = (tmp_path / "checkpoints").glob("*.ckpt")
    assert live.config.lr == 0.5
    assert torch.load(path, weights_only=False)["hyper_parameters"]["lr"] == 0.1


def test_trainer_does_what_the_run_is_asked(open_live: OpenLive, run: RunDir, tmp_path: Path) -> None:
    run.create()
    file_request(run, {}, via="test", action="checkpoint", at=2)
    file_request(run, {}, via="test", action="stop", at=4)
    live = open_live(lr=0.1)
    model = Line(live.config)
    trainer(tmp_path, enable_checkpointing=False).fit(model, data())
    assert model.seen[-1][1] == 4
    saved = torch.load(tmp_path / "trainctl-step=2.ckpt", weights_only=False)
    (state,) = saved["callbacks"].values()
    assert state["live"]["step"] == 2


def validating(model: Line, steps: list[int]) -> Line:
    def validation_step(batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            steps.append(trainctl.current().step_number)

    model.validation_step = validation_step
    return model


@pytest.mark.parametrize(
    "options",
    [
        {}, {"val_check_interval": 4, "check_val_every_n_epoch": None}, {"check_val_every_n_epoch": 5},
        {"accumulate_grad_batches": 2},
    ],
    ids=["each_epoch", "each_4_batches", "each_5_epochs", "accumulated"],
)  # fmt: skip
def test_trainer_evaluates_when_the_run_is_asked_and_goes_on_as_before(
    open_live: OpenLive, run: RunDir, tmp_path: Path, end_run: EndRun, options: dict[str, Any]
) -> None:
    def train(live: Any, path: Path) -> tuple[list[int], list[float]]:
        steps: list[int] = []
        torch.manual_seed(0)
        model = validating(Line(live.config), steps)
        quiet = {"max_epochs": 3, "num_sanity_val_steps": 0, "enable_checkpointing": False, "limit_val_batches": 1}
        trainer(path, **{**quiet, **options}).fit(model, data(), data())
        return steps, [float(each) for each in model.parameters()]

    usual, weights = train(open_live(at=tmp_path / "usual", lr=0.1), tmp_path)
    run.create()
    requests = [file_request(run, {}, via="test", action="evaluate", at=step) for step in (2, 5)]
    steps, same = train(open_live(lr=0.1), tmp_path)
    end_run()
    assert steps == sorted([*usual, 2, 5])
    assert same == weights
    assert [answer(run, request).done for request in requests] == [2, 5]  # type: ignore[union-attr]


@pytest.mark.parametrize("at", [2, BATCHES])
@pytest.mark.parametrize("has_data", [False, True])
def test_evaluation_that_lightning_does_not_do_is_not_said_to_be_done(
    open_live: OpenLive, run: RunDir, tmp_path: Path, end_run: EndRun, has_data: bool, at: int
) -> None:
    run.create()
    request = file_request(run, {}, via="test", action="evaluate", at=at)
    live = open_live(lr=0.1)
    options = {"val_check_interval": "00:01:00:00", "check_val_every_n_epoch": None} if has_data else {}
    fitted = trainer(tmp_path, enable_checkpointing=False, num_sanity_val_steps=0, **options)
    fitted.fit(validating(Line(live.config), []), data(), data() if has_data else None)
    assert live.step_number == BATCHES
    end_run()
    found = answer(run, request)
    assert found is not None
    why = "did not validate when it was asked to" if has_data else "has nothing to validate with"
    assert (found.done, found.reason) == (None, f"the Trainer {why}")


def test_edits_for_the_next_epoch_take_effect_as_it_begins(open_live: OpenLive, run: RunDir, tmp_path: Path) -> None:
    run.create()
    file_request(run, {"lr": "0.5"}, via="test")
    config = {"seed": 1, "controls": {"lr": {"when": "epoch"}}}
    live = trainctl.live(OmegaConf.create({"lr": 0.1, "trainctl": config}), run_dir=run.path)
    model = Line(live.config)
    trainer(tmp_path, max_epochs=2, enable_checkpointing=False).fit(model, data())
    assert {rate for *_, rate in model.seen} == {0.5}
    events = run.events.read_text()
    assert '"step": 1' in events or '"step":1' in events


class Sized(Line):
    """Makes its data for each epoch with the batch size that the config says then."""

    def train_dataloader(self) -> Any:
        return DataLoader(torch.linspace(-1, 1, 12).reshape(12, 1), trainctl.current().now.batch, shuffle=True)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.seen[-1] = (trainctl.current().step_number, self.trainer.current_epoch, batch.flatten().tolist())
        return loss


class AsksOnce(Callback):
    """Asks at one step for another batch size, and waits until it is taken."""

    def __init__(self, run: RunDir, step: int) -> None:
        self.run, self.step = run, step

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainctl.current().step_number == self.step:
            file_request(self.run, {"batch": "6"}, via="test")
            self.step = -1
        elif self.step == -1:
            time.sleep(0.2)


def test_batch_size_is_edited_for_the_epoch_that_begins_at_the_recorded_step(end_run: EndRun, tmp_path: Path) -> None:
    def fit(name: str, *callbacks: Any, ckpt: Path | None = None, **settings: Any) -> tuple[Sized, RunDir]:
        run = RunDir.at(tmp_path / name)
        own = {"seed": 1, "controls": {"batch": {"when": "epoch"}}, **settings}
        live = trainctl.live(OmegaConf.create({"lr": 0.1, "batch": 4, "trainctl": own}), run_dir=run.path)
        torch.manual_seed(3)
        model = Sized(live.config)
        saver = ModelCheckpoint(tmp_path / name, filename="{epoch}", save_top_k=-1)
        made = trainer(
            tmp_path, TrainctlCallback(), saver, *callbacks, max_epochs=4, reload_dataloaders_every_n_epochs=1
        )
        made.fit(model, ckpt_path=ckpt, weights_only=False if ckpt else None)
        end_run()
        return model, run

    run = RunDir.at(tmp_path / "first")
    run.create()
    model, run = fit("first", AsksOnce(run, 2))
    sizes = [(step, epoch, len(batch)) for step, epoch, batch in model.seen]
    assert sizes == [(1, 0, 4), (2, 0, 4), (3, 0, 4), (4, 1, 6), (5, 1, 6), (6, 2, 6), (7, 2, 6), (8, 3, 6), (9, 3, 6)]
    changelog = loads(run.changelog.read_text())
    assert [(edit.step, edit.values) for edit in changelog.edits] == [(4, {"batch": 6})]
    assert read(run.progress.read_text())["total"] == 9

    again, _ = fit("replay", replay=str(run.path))
    assert again.seen == model.seen  # the same items in the same batches
    copy = tmp_path / "second"
    copy.mkdir()
    (copy / "changelog.yaml").write_text(run.changelog.read_text())
    resumed, _ = fit("resumed", ckpt=run.path / "epoch=1.ckpt", replay=str(copy / "changelog.yaml"))
    assert resumed.seen == model.seen[5:]


def test_trainer_without_a_session_is_told_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")  # of a launcher: here a run is meant
    model = Line(OmegaConf.create({"lr": 0.1}))
    with pytest.raises(SettingError, match=r"TrainctlCallback: there is no live session; call trainctl.live\(cfg\)"):
        trainer(tmp_path, enable_checkpointing=False).fit(model, data())


def test_checkpoint_in_mid_epoch_goes_on_with_the_step_and_the_edits(open_live: OpenLive, tmp_path: Path) -> None:
    edits = {2: {"lr": 0.5}, 5: {"lr": 0.25}}
    live = open_live(edits, lr=0.1, at=tmp_path / "first")
    saver = ModelCheckpoint(tmp_path, filename="three", every_n_train_steps=3, save_top_k=1)
    trainer(tmp_path, TrainctlCallback(), saver, max_steps=5).fit(Line(live.config), data())
    live = open_live(edits, lr=0.1, at=tmp_path / "second")
    model = Line(live.config)
    trainer(tmp_path, enable_checkpointing=False).fit(
        model, data(), ckpt_path=tmp_path / "three.ckpt", weights_only=False
    )
    assert [seen[1:] for seen in model.seen] == [(4, 0.5), (5, 0.25), (6, 0.25)]


def test_checkpoint_of_a_run_without_us_is_gone_on_from_with_a_warning(
    open_live: OpenLive, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_live(lr=0.1, at=tmp_path / "first")
    saver = ModelCheckpoint(tmp_path, filename="three", every_n_train_steps=3)
    trainer(tmp_path, saver, max_steps=3).fit(Line(OmegaConf.create({"lr": 0.1})), data())
    live = open_live(lr=0.1, at=tmp_path / "second")
    model = Line(live.config)
    resumed = trainer(tmp_path, enable_checkpointing=False)
    resumed.fit(model, data(), ckpt_path=tmp_path / "three.ckpt", weights_only=False)
    assert [step for _, step, _ in model.seen] == [1, 2, 3]
    assert "the checkpoint has no state of trainctl: its steps are counted from 1" in caplog.text
