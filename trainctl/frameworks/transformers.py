"""Transformers: the callback that makes each optimizer step of a `Trainer` a step of the live session."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from trainctl.frameworks.hosted import numbers, session
from trainctl.frameworks.schedules import inner, write
from trainctl.session.live import Live


class TrainctlTrainerCallback(TrainerCallback, ExportableState):  # type: ignore[misc]  # untyped
    """Connects a `Trainer` to the live session: `Trainer(callbacks=[TrainctlTrainerCallback(lr="optim.lr")])`.

    Call `trainctl.live(cfg)` first. A step of the session is an optimizer step, however many batches are accumulated
    for it; edits take effect before its first batch. `stop`, `checkpoint` and `evaluate` are handed to the Trainer. An
    edit of the learning rate goes together with the Trainer's scheduler as `live.bind` says, and the Trainer logs the
    rate that was used. The state of the session is in the checkpoints. Keys that nothing is bound to are locked
    meanwhile; `trainctl.controls` opens those that your code reads at each step.

    Args:
        live: the session; by default the one that is open when the training starts.
        mode: how an edit of the learning rate and the scheduler go together: "scale", "pin" or "base".
        options: options of the optimizer with the keys that they follow, such as `lr="optim.lr"`.
    """

    def __init__(self, live: Live | None = None, *, mode: str = "scale", **options: str) -> None:
        self._given, self._mode, self._options = live, mode, options
        self._live: Live | None = None
        self._starts: dict[str, list[Any]] = {}  # what the options were, by group, when they were first bound

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Bind the optimizer, and resume from the checkpoint if there is one.

        Raises:
            SettingError: there is no session, or an option cannot be bound.
        """
        live = self._live = session(self._given, "TrainctlTrainerCallback")
        live.total = state.max_steps
        saved = state.stateful_callbacks.get(type(self).__name__, {}).get("attributes", {})
        is_resumed = state.global_step > 0 and bool(saved.get("saved"))
        if self._options:
            optimizer = inner(kwargs["optimizer"])
            self._remember(optimizer, saved["starts"] if is_resumed else None)
            scheduler = {"scheduler": kwargs["lr_scheduler"], "mode": self._mode} if "lr" in self._options else {}
            live.bind(optimizer, **self._options, **scheduler)
        if is_resumed:
            live.load_state_dict(saved["saved"])
        elif state.global_step > 0:
            live.resume(state.global_step)
        state.stateful_callbacks[type(self).__name__] = self.state()  # where the Trainer will look for it
        live.lock_unbound("the Trainer")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._session.lock_unbound(None)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._session.epoch()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._session.step()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Hand to the Trainer what the session was asked for."""
        live = self._session
        if live.should_stop:
            control.should_training_stop = True
        if live.should_checkpoint:
            control.should_save = True
        if live.should_evaluate:
            if str(getattr(args.eval_strategy, "value", args.eval_strategy)) == "no":
                live.decline("evaluate", "the Trainer evaluates nothing: its eval_strategy is 'no'")
            else:
                control.should_evaluate = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if self._live is not None and logs:
            # the Trainer ends with a mean over the steps of this process, which a resumed run has otherwise
            is_sum = "train_runtime" in logs
            self._live.log(numbers({key: value for key, value in logs.items() if not (is_sum and key == "train_loss")}))

    def state(self) -> dict[str, Any]:
        """Return what the Trainer writes into its checkpoint."""
        saved = {} if self._live is None else self._live.state_dict()
        arguments = {"mode": self._mode, **self._options}
        return {"args": arguments, "attributes": {"saved": saved, "starts": self._starts}}

    @property
    def _session(self) -> Live:
        assert self._live is not None, "the Trainer calls on_train_begin() first"
        return self._live

    def _remember(self, optimizer: Any, starts: dict[str, list[Any]] | None) -> None:
        """Note what the bound options were at first, or give the groups that back: a checkpoint has them as edited.

        The learning rate is the scheduler's, which has kept its beginning itself.
        """
        names = [name for name in self._options if name != "lr" and name in optimizer.defaults]
        groups = optimizer.param_groups
        if starts is None:
            starts = {name: [group[name] for group in groups] for name in names}
        for name in names:
            for group, start in zip(groups, starts.get(name, ()), strict=False):
                write(group, name, tuple(start) if isinstance(start, list) else start)
        self._starts = starts
