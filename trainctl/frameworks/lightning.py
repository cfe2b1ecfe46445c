"""Lightning: the callback that makes each optimizer step of a `Trainer` a step of the live session."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

try:
    from lightning.pytorch.callbacks import Callback
except ImportError:
    from pytorch_lightning.callbacks import Callback

from trainctl.frameworks.hosted import numbers, session
from trainctl.session.api import current
from trainctl.session.live import Live
from trainctl.track import net

logger = logging.getLogger(__name__)


class TrainctlCallback(Callback):  # type: ignore[misc]  # its types are not followed
    """Connects a `Trainer` to the live session: `Trainer(callbacks=[TrainctlCallback()])`, after `trainctl.live(cfg)`.

    A step of the session is a batch after which an optimizer has stepped, with all batches that were accumulated for
    it. With manual optimisation and several optimizers (a GAN) it is one step still. Edits take effect before its first
    batch. `stop` ends the training, `checkpoint` saves one beside those of `ModelCheckpoint`, `evaluate` runs the
    validation. What must follow the config is bound where it is made, such as in `configure_optimizers`:
    `trainctl.current().bind(optimizer, lr="lr")`.
    Keys that nothing is bound to are locked meanwhile; `trainctl.controls` opens those that your code reads each step.
    With `Trainer(reload_dataloaders_every_n_epochs=1)`, on one rank, an epoch begins before its data are made, so that
    what `train_dataloader` reads (`trainctl.current().now.batch_size`) can be edited under the control `{when: epoch}`.

    A checkpoint of Lightning holds the session's state, and `fit(ckpt_path=…)` goes on from it. The module's
    hyper-parameters are left as they are.

    Args:
        live: the session, or the config of the one to open when the training starts, in each rank that `ddp_spawn`
            starts; by default the one that is open then.
        rng: keep the global random states in checkpoints too. Lightning does not, and without them a resumed run draws
            other numbers than one that was not stopped.
        log: write the metrics that the module logs to the run's metrics.
    """

    def __init__(self, live: Live | DictConfig | None = None, *, rng: bool = True, log: bool = True) -> None:
        self._given, self._rng, self._logs = live, rng, log
        self._live: Live | None = None
        self._loaded: dict[str, Any] = {}
        self._is_step_open = False
        self._is_epoch_done = False
        self._before = 0  # optimizer steps until the step that is open
        self._seen: dict[str, Any] = {}  # Lightning's metrics when they were last looked at
        self._logged: dict[str, Any] = {}  # what was logged of a step
        self._logged_step = 0
        self._has_started, self._is_first_epoch = False, True
        self._intervals: tuple[Any, Any] | None = None  # how often Lightning validates, while it is asked to at once

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Find the session; tests and validations need none.

        Raises:
            SettingError: there is none for a training.
        """
        if stage == "fit":
            self._live = session(self._given, "TrainctlCallback")
            others = [each for each in trainer.callbacks if not isinstance(each, _Beginning)]
            trainer.callbacks = [_Beginning(self), *others]
            _note_loggers(trainer.loggers)
            self._has_started, self._is_first_epoch = False, True
            if trainer.reload_dataloaders_every_n_epochs and trainer.world_size == 1:
                self._precede_data(trainer)
        elif self._live is None:
            self._live = self._given if isinstance(self._given, Live) else current()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Resume from a checkpoint, once everything is bound and the optimizers have their states back."""
        live = self._session
        steps = trainer.estimated_stepping_batches
        live.total = int(steps) if 0 < steps < float("inf") else None
        loaded, self._loaded = self._loaded, {}
        if loaded:
            live.load_state_dict(loaded["live"])
            if loaded["is_epoch_done"]:
                # The data are begun before this hook, and by that have drawn from the random states, as they would have
                # done after the checkpoint: again, now that these are restored.
                iter(trainer.fit_loop._data_fetcher)
        elif trainer.global_step > 0:
            logger.warning("the checkpoint has no state of trainctl: its steps are counted from 1")
        live.lock_unbound("Lightning")
        self._has_started = True

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._log(trainer)
        self._end_validation(trainer)
        self._session.lock_unbound(None)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Log what the epoch before has made at its end, after all hooks, and begin one."""
        self._begin_epoch(trainer)

    def _begin_epoch(self, trainer: Any) -> None:
        self._log(trainer)
        if not self._is_step_open:
            self._session.epoch()

    def _precede_data(self, trainer: Any) -> None:
        """Have each epoch begin before its data are made.

        Those of the first are made again when the training starts, in all ranks: a checkpoint, or an edit that had come
        before, may have changed the config since.
        """
        loop = trainer.fit_loop
        make_data = type(loop).setup_data

        def setup_data() -> None:
            if not self._has_started:
                make_data(loop)
                return
            if not (loop.restarted_mid_epoch or loop.restarted_on_epoch_end):
                self._begin_epoch(trainer)
            if self._is_first_epoch:
                self._is_first_epoch, loop._last_train_dl_reload_epoch = False, -math.inf
            make_data(loop)
            if trainer.max_epochs and trainer.max_epochs > 0 and trainer.max_steps < 0:
                steps = math.ceil(loop.max_batches / trainer.accumulate_grad_batches)
                self._session.total = self._session.step_number + steps * (trainer.max_epochs - trainer.current_epoch)

        loop.setup_data = setup_data

    def begin_batch(self, trainer: Any) -> None:
        """Begin a step, unless this batch is accumulated with earlier ones."""
        self._end_validation(trainer)
        self._is_epoch_done = False
        if not self._is_step_open:
            self._is_step_open, self._before = True, trainer.global_step
            self._session.step()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End a step if an optimizer has stepped, and do what was asked for."""
        live = self._session
        self._is_step_open = trainer.global_step == self._before
        self._is_epoch_done = bool(trainer.is_last_batch)
        if self._is_step_open:
            return
        self._log(trainer)
        if live.should_checkpoint:
            trainer.save_checkpoint(self._checkpoint(trainer))
        if live.should_evaluate:
            self._begin_validation(trainer)
        if live.should_stop:
            trainer.should_stop = True

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if self._intervals is not None:
            trainer.val_check_batch, trainer.check_val_every_n_epoch = self._intervals
            self._intervals = None

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self._log(trainer)

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        self._log(trainer)

    def state_dict(self) -> dict[str, Any]:
        if self._live is None:
            return {}
        return {"live": self._live.state_dict(rng=self._rng), "is_epoch_done": self._is_epoch_done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state of a checkpoint until the training starts: nothing is bound yet."""
        self._loaded = state_dict

    @property
    def _session(self) -> Live:
        assert self._live is not None, "Lightning calls setup() first"
        return self._live

    def _log(self, trainer: Any) -> None:
        """Log what is new: Lightning keeps the metrics of an epoch among those of each step, and repeats some."""
        live = self._live
        if not self._logs or live is None:
            return
        metrics: Mapping[str, Any] = trainer.callback_metrics
        new = numbers({name: value for name, value in metrics.items() if value is not self._seen.get(name)})
        self._seen = dict(metrics)
        if live.step_number != self._logged_step:
            self._logged, self._logged_step = {}, live.step_number
        values = {name: value if isinstance(value, int | float) else value.item() for name, value in new.items()}
        changed = {name: value for name, value in values.items() if repr(value) != repr(self._logged.get(name))}
        self._logged |= changed
        if changed:
            live.log(changed)

    def _begin_validation(self, trainer: Any) -> None:
        """Let Lightning validate after this batch, which it decides once the callbacks have been called."""
        if not trainer.enable_validation:
            self._session.decline("evaluate", "the Trainer has nothing to validate with")
            return
        self._intervals = trainer.val_check_batch, trainer.check_val_every_n_epoch
        trainer.val_check_batch, trainer.check_val_every_n_epoch = 1, 1

    def _end_validation(self, trainer: Any) -> None:
        """Say so if Lightning has not validated although it was asked to: it may do that by the clock alone."""
        if self._intervals is not None:
            self.on_validation_start(trainer, None)
            self._session.decline("evaluate", "the Trainer did not validate when it was asked to")

    def _checkpoint(self, trainer: Any) -> Path:
        saver = trainer.checkpoint_callback
        directory = getattr(saver, "dirpath", None) or trainer.default_root_dir
        return Path(directory) / f"trainctl-step={self._session.step_number}.ckpt"


class _Beginning(Callback):  # type: ignore[misc]
    """Begins a step before another callback looks: LearningRateMonitor reads the rate as the step's edit has it."""

    def __init__(self, of: TrainctlCallback) -> None:
        self._of = of

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._of.begin_batch(trainer)


def _note_loggers(loggers: Iterable[Any]) -> None:
    """Tell the trackers which runs Lightning's loggers have open. W&B's is seen from outside once it is open."""
    for logger in loggers:
        kind = type(logger).__name__
        if kind == "WandbLogger":
            _ = logger.experiment
        elif kind == "MLFlowLogger" and logger.run_id is not None:
            net.note("mlflow", run_id=str(logger.run_id), uri=str(logger.experiment.tracking_uri))
        elif kind == "TensorBoardLogger":
            net.note("tensorboard", directory=str(logger.log_dir))
