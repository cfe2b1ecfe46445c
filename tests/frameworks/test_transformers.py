"""A `Trainer` of Transformers under a live session: edits survive its scheduler, its logs tell the rate used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from open_sessions import OpenLive
from session_fixtures import EndRun

pytest.importorskip("transformers", reason="Transformers is not installed")
pytest.importorskip("accelerate", reason="Accelerate is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # those of Transformers, Accelerate and PyTorch

import torch  # noqa: E402
from transformers import PretrainedConfig, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments  # noqa: E402

from trainctl.errors import SettingError  # noqa: E402
from trainctl.frameworks.transformers import TrainctlTrainerCallback  # noqa: E402
from trainctl.rundir.events import read_events  # noqa: E402
from trainctl.rundir.inbox import file_request  # noqa: E402
from trainctl.rundir.paths import RunDir  # noqa: E402

STEPS = 10
OPTIM = {"lr": 0.1, "wd": 0.01}


class Line(PreTrainedModel):
    config_class = PretrainedConfig

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        self.layer = torch.nn.Linear(1, 1)
        self.dropout = torch.nn.Dropout(0.5)
        self.post_init()

    def forward(self, x: Any) -> dict[str, Any]:
        found = self.layer(self.dropout(x))
        return {"loss": found.square().mean(), "logits": found}


class Watcher(TrainerCallback):
    """Notes what other callbacks and reporters are told, and what the optimizer used."""

    def __init__(self) -> None:
        self.logged: list[float] = []
        self.used: list[float] = []
        self.decays: list[float] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any) -> None:
        inner = getattr(optimizer, "optimizer", optimizer)

        def note(*_: Any) -> None:
            self.used.append(float(inner.param_groups[0]["lr"]))
            self.decays.append(float(inner.param_groups[0]["weight_decay"]))

        self._hook = inner.register_step_pre_hook(note)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if "learning_rate" in logs:
            self.logged.append(logs["learning_rate"])


def trainer(path: Path, *callbacks: Any, **options: Any) -> Trainer:
    arguments = {
        "output_dir": str(path),
        "max_steps": STEPS,
        "per_device_train_batch_size": 1,
        "learning_rate": 0.1,
        "weight_decay": 0.01,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
    }
    torch.manual_seed(0)
    data = [{"x": torch.tensor([number / 40])} for number in range(40)]
    made = TrainingArguments(**{**arguments, **options})
    return Trainer(Line(PretrainedConfig()), made, train_dataset=data, eval_dataset=data[:2], callbacks=list(callbacks))


def linear(step: int) -> float:
    """Return the Trainer's rate at a step (from 1): a line down to 0 after the last."""
    return 0.1 * (1 - (step - 1) / STEPS)


@pytest.mark.slow
def test_edit_of_the_rate_survives_the_scheduler(open_live: OpenLive, tmp_path: Path) -> None:
    open_live({4: {"optim": {"lr": 0.2}}, 8: {"optim": {"lr": 0.05}}}, optim=OPTIM)
    first, last = Watcher(), Watcher()
    callback = TrainctlTrainerCallback(lr="optim.lr", weight_decay="optim.wd")
    fitted = trainer(tmp_path, first, callback, last)
    fitted.train()
    scaled = [linear(step) * (1 if step < 4 else 2 if step < 8 else 0.5) for step in range(1, STEPS + 1)]
    assert last.used == pytest.approx(scaled)
    assert first.logged == last.logged == last.used  # whoever reports it, before us or after us
    history = [entry["learning_rate"] for entry in fitted.state.log_history if "learning_rate" in entry]
    assert history == last.used


@pytest.mark.slow
def test_pinned_rate_is_the_one_that_was_asked_for(open_live: OpenLive, tmp_path: Path) -> None:
    open_live({4: {"optim": {"lr": 0.2}}}, optim=OPTIM)
    watcher = Watcher()
    trainer(tmp_path, TrainctlTrainerCallback(lr="optim.lr", mode="pin"), watcher).train()
    assert watcher.logged[3:] == [0.2] * (STEPS - 3)


def test_rate_that_a_plateau_reduces_is_logged_as_it_was_used(open_live: OpenLive, tmp_path: Path) -> None:
    open_live({4: {"optim": {"lr": 0.2}}}, optim=OPTIM)
    watcher = Watcher()
    options = {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "steps", "eval_steps": 5}
    options |= {"label_names": ["x"]}  # so that there is a loss to look at
    trainer(tmp_path, TrainctlTrainerCallback(lr="optim.lr"), watcher, **options).train()
    assert watcher.logged == watcher.used == [0.1] * 3 + [0.2] * (STEPS - 3)


def test_batches_that_are_accumulated_are_one_step(
    open_live: OpenLive, tmp_path: Path, logged: Callable[[str], dict[int, Any]]
) -> None:
    live = open_live(optim=OPTIM)
    trainer(tmp_path, TrainctlTrainerCallback(), gradient_accumulation_steps=3, max_steps=5).train()
    assert (live.step_number, live.total) == (5, 5)
    assert sorted(logged("loss")) == [1, 2, 3, 4, 5]
    assert logged("train_runtime") == logged("train_loss") == {}  # they would differ in a repetition or a resumed run


def test_trainer_does_what_the_run_is_asked(open_live: OpenLive, run: RunDir, tmp_path: Path) -> None:
    run.create()
    for step, action in ((2, "checkpoint"), (3, "evaluate"), (5, "stop")):
        file_request(run, {}, via="test", action=action, at=step)
    live = open_live(optim=OPTIM)
    fitted = trainer(tmp_path / "out", TrainctlTrainerCallback(), eval_strategy="steps", eval_steps=1000)
    fitted.train()
    assert live.step_number == fitted.state.global_step == 5
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["checkpoint-2"]
    assert [entry["step"] for entry in fitted.state.log_history if "eval_runtime" in entry] == [3]


def test_evaluation_that_a_trainer_does_not_have_ends_nothing(
    open_live: OpenLive, run: RunDir, tmp_path: Path, end_run: EndRun
) -> None:
    run.create()
    file_request(run, {}, via="test", action="evaluate", at=2)
    live = open_live(optim=OPTIM)
    trainer(tmp_path, TrainctlTrainerCallback()).train()
    assert live.step_number == STEPS
    end_run()
    assert [event.reason for event in read_events(run) if event.settled] == [
        "the Trainer evaluates nothing: its eval_strategy is 'no'"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("restores", [False, True], ids=["callback_is_new", "callback_is_restored"])
def test_resumed_training_ends_as_one_that_was_not_stopped(open_live: OpenLive, tmp_path: Path, restores: bool) -> None:
    edits = {3: {"optim": {"lr": 0.2, "wd": 0.05}}, 7: {"optim": {"wd": 0.1}}, 9: {"optim": {"lr": 0.3}}}

    def train(name: str, **options: Any) -> tuple[Trainer, Watcher]:
        open_live(edits, optim=OPTIM, at=tmp_path / name)
        watcher = Watcher()
        fitted = trainer(
            tmp_path / "out",
            TrainctlTrainerCallback(lr="optim.lr", weight_decay="optim.wd"),
            watcher,
            save_strategy="steps",
            save_steps=5,
            restore_callback_states_from_checkpoint=restores,
        )
        fitted.train(**options)
        return fitted, watcher

    whole, seen = train("whole")
    resumed, rest = train("resumed", resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-5"))
    assert rest.logged == seen.logged[5:]
    assert rest.decays == seen.decays[5:] == pytest.approx([0.05, 0.1, 0.1, 0.1, 0.1])
    assert [each.tolist() for each in resumed.model.parameters()] == [
        each.tolist() for each in whole.model.parameters()
    ]


def test_trainer_without_a_session_is_told_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")  # of a launcher: here a run is meant
    with pytest.raises(SettingError, match=r"TrainctlTrainerCallback: there is no live session; call trainctl.live"):
        trainer(tmp_path, TrainctlTrainerCallback()).train()
