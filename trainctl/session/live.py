"""The live session: what a training loop calls at each step, and what it reads and logs in between."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any, TypeVar

from omegaconf import DictConfig

from trainctl.attempt import attempt as attempts
from trainctl.attempt.attempt import Attempt
from trainctl.config.settings import settings_of
from trainctl.errors import SettingError
from trainctl.rundir.compare import FINGERPRINT, fingerprint
from trainctl.rundir.summary import PreviousAttempt
from trainctl.session import binding
from trainctl.session import checkpoint as resume
from trainctl.session.loops import Loops, tracked
from trainctl.session.open import Where, open_session
from trainctl.session.ranks import leader
from trainctl.session.ranks.follower import Follower
from trainctl.session.ranks.leader import Leader
from trainctl.session.ranks.protocol import Agree
from trainctl.session.schedule import NEVER
from trainctl.session.step import Session
from trainctl.session.values import Hook, Now, build

Item = TypeVar("Item")
HookType = TypeVar("HookType", bound=Hook)
CallType = TypeVar("CallType", bound=Callable[..., object])


class Live:
    """One live session. Call `step()` at the start of each training step; edits take effect there and at `epoch()`.

    Attributes:
        now: the current config as plain objects; a new one after each edit.
        step_number: the number of the step that runs; 0 before the first step.
        seed: the seed of this run, the same on all ranks; on other ranks than 0 it is None until the ranks have met.
    """

    __slots__ = (
        *("_agree", "_engine", "_files", "_flags", "_goal", "_has_joined", "_loops", "_member", "_next", "_pid"),
        *("_previous", "_stretch", "_taken", "_told", "config", "now", "seed", "step_number"),
    )

    def __init__(self, config: DictConfig, attempt: Attempt | None, *, agree: Agree | None = None) -> None:
        """Open the session of an attempt; without an attempt, the session of another rank than 0."""
        self.config = config
        self.step_number = 0
        self._goal: int | None = None
        self._loops = Loops()
        self._stretch = (0, 0)
        self._told: dict[str, Any] | None = {}
        self._pid = os.getpid()
        self._previous = None if attempt is None else attempt.previous
        self._agree, self._has_joined = agree, False
        self._next = 1  # the first step looks for other ranks
        self._files: Session | None = None
        self.seed: int | None = settings_of(config).seed
        self.now: Now = build(config)
        self._taken: Sized = ()  # what the session's thread has taken in
        self._member: Session | Follower | None
        if attempt is None:
            self._member = Follower(config, self._show)
        else:
            self.seed = attempt.seed
            opened = open_session(config, attempt, where=self._where, show=self._show)
            self._member = self._files = opened
            self._taken = opened.intake.taken
            self.now = opened.applier.now  # the seed may have been written into the config
        self._flags = self._member.flags
        self._engine: Session | Leader | Follower | None = self._member

    def step(self) -> int:
        """Begin the next step and return its number (1, 2, …); requests that have come meanwhile are applied first.

        While the run is paused, this call waits.

        Raises:
            EditError: a scheduled edit cannot be applied. RunDirError: it cannot be recorded.
        """
        self.step_number = step = self.step_number + 1
        if step >= self._next or self._taken:
            self._begin(step, is_epoch=False)
        return step

    def epoch(self) -> None:
        """Begin an epoch, before its first step: edits of keys with `when: epoch` take effect here.

        So do all other edits that are due: this opens the next step as `step()` would; `step()` then only counts it.
        """
        self._loops.note_epoch()
        self._begin(self.step_number + 1, is_epoch=True)

    @property
    def total(self) -> int | None:
        """The last step of the training; None when it is not known.

        It is the value that was set, else derived from the outermost loop of `track`. With several such loops, as one
        per epoch, it cannot be derived: set `live.total = epochs * len(batches)`.
        """
        step = self.step_number
        total = self._loops.total(step) if self._goal is None else self._goal
        return total if total is None or step <= total else None

    @total.setter
    def total(self, step: int | None) -> None:
        self._goal = step

    def track(self, iterable: Iterable[Item], total: int | None = None) -> Iterator[Item]:
        """Yield the items, beginning a step for each; `total` is their number, for iterables without a length.

        On a terminal a progress bar shows the latest metrics.
        """
        if total is None and isinstance(iterable, Sized):
            total = len(iterable)
        loop = self._loops.begin(self.step_number, total)
        metrics = self._files.metrics if self._files is not None else None
        try:
            yield from tracked(iterable, self.step, lambda: self.total, loop, metrics)
        finally:
            self._loops.end(loop)

    def log(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Log metrics of the current step to `metrics.jsonl`; the I/O thread writes them.

        Raises:
            TypeError: a value is not a number, text, bool, None, or a list of those.
            ValueError: a name is `step` or `t`.
        """
        if self._files is not None:
            self._files.metrics.add(self.step_number, {**values, **more} if values else more)

    def on_edit(self, hook: HookType) -> HookType:
        """Call `hook(edit)` after each edit, in the training thread, once the config has changed; a decorator too.

        `edit.values` holds the new values by dotted key, `edit.step` the step. After a resume it is called once, with
        the values of all keys that were edited until then.
        """
        if self._member is not None:
            self._member.listeners.hooks.append(hook)
            self._member.listen_anew()
        return hook

    def add_binding(self, apply: Callable[[Now], object]) -> None:
        """Call `apply(live.now)` at once, after each edit (before the hooks), and after a resume.

        It runs in the training thread. Use it for objects that must agree with the config but do not read it.
        """
        if self._member is not None:
            self._member.listeners.bindings.append(apply)
        apply(self.now)
        if self._member is not None:
            self._member.listen_anew()

    def lock_unbound(self, trainer: str | None) -> None:
        """Lock the keys that no binding follows while `trainer` (its name) trains; None unlocks them.

        For framework callbacks: a trainer's objects are built before training, so edits of other keys would have no
        effect. Keys in `trainctl.controls` stay as they are, and a hook (`on_edit`), which gets every edit, keeps all
        keys open.
        """
        if self._member is not None:
            self._member.lock_unbound(trainer)

    def action(self, name: str) -> Callable[[CallType], CallType]:
        """Declare an action that page and command line can ask for: a decorator for the function that does it.

        It is called in the training thread at the start of a step, after the edits of that step. Its arguments are
        given by name and need annotations: `str`, `int`, `float`, `bool`, a `Literal` of such values, or one of these
        `| None`. The global random states are restored afterwards. If it raises, the requester gets the error, and
        training goes on.

        Raises:
            SettingError: the name is invalid or taken, or an argument cannot be given from outside.
        """

        def declare(call: CallType) -> CallType:
            if self._member is not None:
                self._member.declare(name, call)
            return call

        return declare

    def bind(self, target: Any, *path: str, **options: Any) -> Any:
        """Let options of a PyTorch optimizer, or an attribute of any object, follow keys of the config.

        `live.bind(optimizer, lr="optim.lr", weight_decay="optim.wd", scheduler=scheduler)`;
        `live.bind(model, "dropout.p", "model.dropout")`. What is bound is set after each edit, before the step's code
        runs, and after a resume. Learning rate and weight decay keep their ratios between parameter groups.

        Args:
            target: the optimizer, or any object.
            path: for an object, its attribute (dotted) and the key that this follows.
            options: for an optimizer, options of its parameter groups (`lr`, `betas`, `momentum`, …), each with the key
                that it follows, and with `lr` also
                scheduler: the learning-rate scheduler; needed for `mode="base"` and for ReduceLROnPlateau;
                mode: what an edit does under a scheduler: `"scale"` (default) multiplies the schedule by new / first
                value, `"pin"` uses the new value whatever the scheduler says, `"base"` is as if the schedule had begun
                with the new value;
                log: the metric's name for the learning rate in use, default `"lr"`; None logs nothing.

        Returns:
            What sets the target, called with `live.now`; that of an optimizer has `lr`, the rates in use.

        Raises:
            SettingError: there is no such attribute, option, or key, or the value now cannot be followed.
        """
        bound = binding.bind(target, path, options, now=self.now, log=self._log_change)
        self.add_binding(bound)
        return bound

    def _log_change(self, values: Mapping[str, Any]) -> None:
        """Log values of a binding unless the record has them already: a resumed run must log the same rows."""
        if self._files is None:
            return
        if self._told is None:
            self._told = self._files.metrics.values_until(self._stretch[1])
        if any(name not in self._told or self._told[name] != value for name, value in values.items()):
            self._told |= values
            self.log(values)

    def fingerprint(self, model: Any) -> str:
        """Return a hash of a model's weights and log it: `trainctl replay --verify` compares it with the repetition's.

        `model` has a `state_dict()`, or is an array, a tensor, a plain value, or mappings and lists of these.

        Raises:
            TypeError: it holds something else.
        """
        found = fingerprint(model)
        self.log({FINGERPRINT: found})
        return found

    @property
    def should_stop(self) -> bool:
        """Whether somebody asked the run to stop; the loop then ends by itself, and the run is done."""
        return self._flags.look_at_stop(self.step_number)

    @property
    def should_checkpoint(self) -> bool:
        """Whether a checkpoint is asked for: true until the end of the first step in which the loop looks.

        An edit that wants a checkpoint first takes effect at the step after that. Look at the end of a step.
        """
        return self._flags.checkpoint.look(self.step_number)

    @property
    def should_evaluate(self) -> bool:
        """Whether an evaluation is asked for: true until the end of the first step in which the loop looks."""
        return self._flags.evaluate.look(self.step_number)

    def decline(self, action: str, reason: str) -> None:
        """Say why the loop cannot do an action whose flag it has looked at; `action` is "evaluate" or "checkpoint".

        Without this the action counts as done once the loop begins another step.
        """
        if self._files is not None:
            self._files.asks.decline(action, reason)

    @property
    def resuming(self) -> bool:
        """Whether an earlier attempt of this run has begun; if so, look for its checkpoint.

        Raises:
            SettingError: as `previous_attempt`.
        """
        return self.previous_attempt is not None

    @property
    def previous_attempt(self) -> PreviousAttempt | None:
        """What the attempt before this one has left: `number`, `last_step`, and how it ended (`state`, `reason`).

        Raises:
            SettingError: this is another rank than 0, and it has not heard of rank 0 yet.
        """
        return self._member.previous_attempt if isinstance(self._member, Follower) else self._previous

    @property
    def is_open(self) -> bool:
        """Whether edits are still taken: until `close`, and only in the process that opened the session."""
        return self._member is not None and os.getpid() == self._pid

    def state_dict(self, *, rng: bool = False) -> dict[str, Any]:
        """Return the session's part of a checkpoint, as plain values; call it at the end of a step.

        Args:
            rng: include the global random states of `random`, NumPy and torch, as far as they are loaded.
        """
        return resume.state_dict(self._files, self.step_number, self.seed, rng=rng)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a checkpoint, as `resume` does, and restore its random states if it has them.

        In another run dir than the checkpoint's, the edits until then are recorded here as one edit at its step.

        Raises:
            SettingError: it is not what `state_dict` returned. EditError: it has an edit that this config cannot take.
        """
        resume.check(state)
        self._resume(state["step"], state)
        resume.put_back_random(state)

    def resume(self, step: int) -> None:
        """Resume after `step`: config and bindings go back to their values at that step; later edits are applied again.

        Register hooks and bindings first: they run here. `live.step()` begins the next step. Every rank calls this.

        Raises:
            SettingError: the step is not a whole number from 0.
        """
        if type(step) is not int or step < 0:
            raise SettingError(f"live.resume({step!r}): a step is a whole number from 0")
        self._resume(step, {})

    def _resume(self, step: int, state: Mapping[str, Any]) -> None:
        self._stretch = (self._stretch[0] + 1, step)
        self._told = None
        self.step_number = step
        self._next = step + 1  # where ranks that have not met yet hear of it
        files = self._files
        if isinstance(self._engine, Follower):
            self._engine.begin_step(step)
        elif files is not None:
            go_on = functools.partial(resume.resume, files, step, state)
            self._engine.meet_for(step, go_on) if isinstance(self._engine, Leader) else go_on()

    def done(self, value: Any = None) -> None:
        """Record that the run is done, with its return value; for programs whose process ends before the task returns.

        Call it last: it closes the session, and how the process ends no longer matters. On other ranks than 0 it does
        nothing.

        Raises:
            JobError: the run is not done: a replay that was not the same run, a disk that is full.
        """
        attempt = attempts.current()
        if attempt is not None:
            attempt.settle(value)

    def close(self) -> None:
        """End the session: reject the requests that are left, and write metrics and progress.

        The end of the run calls this. A second call, or one in a forked child, does nothing.

        Raises:
            EditError: the replayed run has edits at steps that this one has not reached.
            RunDirError: metrics or answers could not be written.
        """
        opened, self._files, self._member = self._files, None, None
        if opened is None or os.getpid() != self._pid:
            return
        if isinstance(self._engine, Leader):
            self._engine.close()
        else:
            self._engine, self._next = None, NEVER
        opened.close(self.step_number, self.total)

    def _begin(self, step: int, *, is_epoch: bool) -> None:
        if not self._has_joined:
            self._join()
        engine = self._engine
        if engine is None:  # closed: nothing is applied any more
            return
        try:
            engine.begin_step(step, is_epoch=is_epoch)
        finally:
            self._next = engine.next_step
            if isinstance(engine, Follower):
                self.seed = engine.seed

    def meet(self) -> None:
        """Meet the other ranks now if they can be found already, else at the first step."""
        if leader.can_be_found(self._agree):
            self._begin(0, is_epoch=False)
        elif self._files is not None:
            leader.warn_of_draws(self._files)

    def _join(self) -> None:
        """Find the other ranks, if there are any; from then on all ranks apply the same edits."""
        self._has_joined = True
        agreement = leader.find(self._agree, settings_of(self.config).sync_every)
        if agreement is None:
            leader.check_alone()
        elif self._member is not None:
            self._engine = leader.join(self._member, agreement)
            self._taken = ()  # what has come is looked at when the ranks meet

    def _where(self) -> Where:
        stretch, total, step = self._stretch, self.total, self.step_number  # each before what may outrun it
        return step, total if total is None or step <= total else None, stretch

    def _show(self, now: Now) -> None:
        self.now = now
