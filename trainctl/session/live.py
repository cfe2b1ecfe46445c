"""The live session: what a training loop calls at each step, and what it reads and logs in between."""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any, TypeVar

from omegaconf import DictConfig

from trainctl.attempt import attempt as attempts
from trainctl.attempt.attempt import Attempt
from trainctl.attempt.rank import distributed, rank, world_size
from trainctl.config.settings import settings_of
from trainctl.errors import SettingError
from trainctl.rundir.compare import FINGERPRINT, fingerprint
from trainctl.rundir.events import RUN_ENDED
from trainctl.rundir.request import Request
from trainctl.rundir.summary import PreviousAttempt
from trainctl.session import binding
from trainctl.session import checkpoint as resume
from trainctl.session.flags import Flags
from trainctl.session.io_thread import Position
from trainctl.session.loops import Loops
from trainctl.session.open import open_session
from trainctl.session.progress_bar import tracked
from trainctl.session.ranks import leader
from trainctl.session.ranks.follower import Follower
from trainctl.session.ranks.leader import Leader
from trainctl.session.ranks.protocol import Agree
from trainctl.session.schedule import NEVER
from trainctl.session.step import Session, lost_error, missed_error
from trainctl.session.values import Hook, Now, build

Item = TypeVar("Item")
HookType = TypeVar("HookType", bound=Hook)
CallType = TypeVar("CallType", bound=Callable[..., object])


class Live:
    """One live session. Call `step()` at the start of each training step; edits take effect there and at `epoch()`.

    Attributes:
        now: the current config as plain objects; a new one after each edit.
        step_number: the number of the step that runs; 0 before the first step.
        seed: the seed of this run, the same on all ranks; None elsewhere than on rank 0 until the ranks have met.
    """

    __slots__ = (
        *("_agree", "_engine", "_files", "_flags", "_goal", "_has_joined", "_loops", "_member", "_next", "_pid"),
        *("_previous", "_stretch", "_taken", "_told", "config", "now", "seed", "step_number"),
    )

    def __init__(self, config: DictConfig, attempt: Attempt | None, *, agree: Agree | None = None) -> None:
        """Open the session of an attempt; without one it is that of another rank than 0."""
        self.config = config
        self.step_number = 0
        self._goal: int | None = None
        self._loops = Loops()
        self._stretch = (0, 0)
        self._told: dict[str, Any] | None = {}
        self._pid = os.getpid()
        self._previous = None if attempt is None else attempt.previous
        self._agree, self._has_joined = agree, False
        self._flags = Flags()
        self._next = 1  # the first step looks for other ranks
        self._files: Session | None = None
        self.seed: int | None = settings_of(config).seed
        self.now: Now = build(config)
        taken: deque[Request] = deque()
        self._taken: deque[Request] | tuple[()] = taken
        self._member: Session | Follower | None
        if attempt is None:
            self._member = Follower(config, self._flags, self._show)
        else:
            self.seed = attempt.seed
            opened = open_session(config, attempt, taken, self._flags, position=self._position, show=self._show)
            self._member = self._files = opened
            self.now = opened.applier.now  # the seed may have been written into the config
        self._engine: Session | Leader | Follower | None = self._member

    def step(self) -> int:
        """Begin the next step and return its number (1, 2, …); what was asked for since is applied first.

        While the run is paused it waits here.

        Raises:
            EditError: a scheduled edit cannot be applied. RunDirError: it cannot be recorded.
        """
        self.step_number = step = self.step_number + 1
        if step >= self._next or self._taken:
            self._begin(step, is_epoch=False)
        return step

    def epoch(self) -> None:
        """Begin an epoch, before its first step: edits of keys that change only between epochs take effect here.

        So do all others that have come: it opens the next step as `step()` would, and `step()` then only counts it.
        """
        self._loops.note_epoch()
        self._begin(self.step_number + 1, is_epoch=True)

    @property
    def total(self) -> int | None:
        """The step at which the training will be done, shown as goal; None when it is not known.

        It is what was set here, else what the outermost loop of `track` tells: none in the second of several loops,
        such as one for each epoch. `live.total = epochs * len(batches)` tells it there.
        """
        step = self.step_number
        total = self._loops.total(step) if self._goal is None else self._goal
        return total if total is None or step <= total else None

    @total.setter
    def total(self, step: int | None) -> None:
        self._goal = step

    def track(self, iterable: Iterable[Item], total: int | None = None) -> Iterator[Item]:
        """Yield the items, each at the start of a new step; `total` is their number, if they do not tell their own.

        On a terminal there is a bar, with the latest metrics.
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
        """Write metrics of the current step to `metrics.jsonl`; costs no file access here.

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

        In the training thread. For what must always agree with the config although nobody reads it there at each step.
        """
        if self._member is not None:
            self._member.listeners.bindings.append(apply)
        apply(self.now)
        if self._member is not None:
            self._member.listen_anew()

    def lock_unbound(self, trainer: str | None) -> None:
        """Lock the keys that no binding follows while `trainer` (its name) trains; None opens them again.

        For callbacks of frameworks, whose objects are built before the training. Keys that `trainctl.controls` names
        stay as it says, and with a hook (`on_edit`), which gets every edit, all of them stay open.
        """
        if self._member is not None:
            self._member.lock_unbound(trainer)

    def action(self, name: str) -> Callable[[CallType], CallType]:
        """Let `name` be asked for by page and command line: a decorator for the function that does it.

        It is called in the training thread at the start of a step, after the edits of that step. Its arguments are
        given by name and need annotations: `str`, `int`, `float`, `bool`, a `Literal` of such values, or one of these
        `| None`. Random numbers that it draws are put back. If it raises, who asked is told, and training goes on.

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
        """Log what a binding tells, unless it stands in the record already: a run that went on has no other rows."""
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
        """Say why the loop cannot do what it was asked for and has looked at; `action` is "evaluate" or "checkpoint".

        Otherwise what it has looked at counts as done once it begins another step.
        """
        if self._files is not None:
            self._files.asks.decline(action, reason)

    @property
    def resuming(self) -> bool:
        """Whether an earlier attempt of this run has begun: then look for its checkpoint.

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
        member = self._member
        if not isinstance(member, Follower):
            return self._previous
        if member.agreement is None and world_size() > 1:
            raise SettingError(
                f"live.previous_attempt is not known yet on rank {rank()}: initialise torch.distributed before "
                "trainctl.live(cfg), or give trainctl.live(cfg, agree=…)"
            )
        return member.previous

    @property
    def is_open(self) -> bool:
        """Whether edits are still taken: until `close`, and only in the process that opened the session."""
        return self._member is not None and os.getpid() == self._pid

    def state_dict(self, *, rng: bool = False) -> dict[str, Any]:
        """Return what a checkpoint needs of this session, as plain values; take it at the end of a step.

        Args:
            rng: with the states of the global random generators of `random`, NumPy and torch, of those that are loaded.
        """
        return resume.state_dict(self._files, self.step_number, self.seed, rng=rng)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint: as `resume`, and its random states are set if it has them.

        In another run dir than the checkpoint's, the edits until then are recorded here as one edit at its step.

        Raises:
            SettingError: it is not what `state_dict` returned. EditError: it has an edit that this config cannot take.
        """
        resume.check(state)
        self._resume(state["step"], state)
        resume.put_back_random(state)

    def resume(self, step: int) -> None:
        """Go on after `step`: config and bindings become what they were there, later edits come again at their steps.

        Register hooks and bindings first: they run here. `live.step()` then begins the step after. Every rank calls it.

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
        """Write down that the run is done, with its return value; for a program whose process ends before it returns.

        Call it last: the session is closed, and how the process ends no longer matters. On other ranks than 0 it does
        nothing.

        Raises:
            JobError: the run is not done: a replay that was not the same run, a disk that is full.
        """
        attempt = attempts.current()
        if attempt is not None:
            attempt.settle(value)

    def close(self, reason: str = RUN_ENDED) -> None:
        """End the session: requests that are left are rejected with `reason`, metrics and progress are written.

        Called by the end of the run. A second call, or one in a forked child, does nothing.

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
        if opened.pump.stop():
            opened.reads.end(self.step_number)
            opened.end_asks(self.step_number, self._position().total)
            opened.reject_left(reason)
            opened.note_environment()
        error = missed_error(opened, self.step_number) or lost_error(opened)
        if error is not None:
            raise error

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
        """Meet the other ranks now, if they can be found already; else that is done at the first step."""
        if self._agree is not None or distributed() is not None:
            self._begin(0, is_epoch=False)

    def _join(self) -> None:
        """Find the other ranks, if there are any: from now on this one takes and applies edits as all of them do."""
        self._has_joined = True
        agreement = leader.find(self._agree, settings_of(self.config).sync_every)
        if agreement is None:
            leader.check_alone()
        elif self._member is not None:
            self._engine = leader.join(self._member, agreement)
            self._taken = ()  # what has come is looked at when the ranks meet

    def _position(self) -> Position:
        is_paused = self._files is not None and self._files.doing.is_paused
        stretch, total, step = self._stretch, self.total, self.step_number  # each before what may outrun it
        return Position(step, total if total is None or step <= total else None, is_paused, stretch)

    def _show(self, now: Now) -> None:
        self.now = now
