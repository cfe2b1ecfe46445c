"""The session of any rank but 0: it has no files, and applies what rank 0 sends when the ranks meet."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig

from trainctl.attempt import process
from trainctl.attempt.process import rank, world_size
from trainctl.config.assign import assign
from trainctl.config.changelog import Edit
from trainctl.config.settings import settings_of
from trainctl.config.snapshot import leaves_of
from trainctl.errors import RankError, SettingError
from trainctl.rundir.seed import seed_libraries, write_seed
from trainctl.rundir.summary import PreviousAttempt
from trainctl.session.actions import Actions
from trainctl.session.flags import Flags
from trainctl.session.ranks.protocol import Agreement, LoopFlags, RankFailure, Task, Whole
from trainctl.session.rng import kept
from trainctl.session.schedule import NEVER
from trainctl.session.values import Listeners, Now, build

log = logging.getLogger(__name__)


class Follower:
    """Applies to its own config what rank 0 has checked and recorded, at the same step and in the same order.

    Args:
        config: of the task, as rank 0 has it.
        show: called with the new values after each edit.

    Attributes:
        agreement: the channel to rank 0; None until the ranks have met, and then steps are only counted.
        seed: of the run.
        flags: what the training loop is asked.
    """

    def __init__(self, config: DictConfig, show: Callable[[Now], None]) -> None:
        self.agreement: Agreement | None = None
        self.listeners = Listeners(show)
        self.seed = settings_of(config).seed
        if self.seed is None:
            self.seed = process.offered_seed()
        self._previous: PreviousAttempt | None = None
        self._seeded: set[str] = set()
        self._config = config
        self._base = leaves_of(config)
        self.flags = Flags()
        self._actions = Actions()
        self._asked = LoopFlags(stop=False, checkpoint=0, evaluate=0)
        if self.seed is not None:
            seed_libraries(self.seed, self._seeded)

    @property
    def previous_attempt(self) -> PreviousAttempt | None:
        """What the attempt before has left, as rank 0 has told it.

        Raises:
            SettingError: rank 0 has not been heard of yet.
        """
        if self.agreement is None and world_size() > 1:
            raise SettingError(
                f"live.previous_attempt is not known yet on rank {rank()}: initialise torch.distributed before "
                "trainctl.live(cfg), or give trainctl.live(cfg, agree=…)"
            )
        return self._previous

    @property
    def next_step(self) -> int:
        """The step of the next meeting."""
        return NEVER if self.agreement is None else self.agreement.next_step

    def declare(self, name: str, call: Callable[..., object]) -> None:
        """Add an action of the task, which runs here whenever it runs on rank 0.

        Raises:
            SettingError: the name is invalid or taken, or an argument cannot be given from outside.
        """
        self._actions.declare(name, call)

    def lock_unbound(self, trainer: str | None) -> None:
        """Do nothing: rank 0 decides which keys may be edited."""

    def listen_anew(self) -> None:
        """Do nothing: rank 0 decides which keys may be edited."""

    def begin_step(self, step: int, *, is_epoch: bool = False) -> None:
        """Apply what rank 0 sends at `step`; if a hook raises, the rest is still applied, since rank 0 does so too.

        Raises:
            RankError: rank 0 is at another step, or could not begin it.
            Exception: what a hook or a binding of the task raised.
        """
        if self.agreement is None:
            return
        errors: list[Exception] = []
        for content in self.agreement.hear(step):
            try:
                self._do(step, content)
            except Exception as error:  # noqa: BLE001  # raised below
                errors.append(error)
        if errors:
            raise errors[0]

    def _do(self, step: int, content: Whole | Edit | Task | LoopFlags | RankFailure) -> None:
        match content:
            case Whole(seed, edit, previous):
                self._previous = previous
                self._take_seed(step, seed)
                self._change(edit)
            case Edit():
                self._change(content)
            case Task(name, arguments):
                self._call(name, arguments)
            case LoopFlags():
                self._ask(content)
            case RankFailure(text):
                raise RankError(f"rank 0 could not begin step {step}: {text}")

    def _change(self, edit: Edit) -> None:
        assign(self._config, edit.values, self._base)
        self.listeners.hear(edit, edit, build(self._config))

    def _call(self, name: str, arguments: dict[str, Any]) -> None:
        call = self._actions.find(name).call
        assert call is not None
        try:
            with kept():
                call(**arguments)
        except Exception:  # an action is beside the training, which must not end by it
            log.exception("the action %s failed on this rank", name)

    def _ask(self, asked: LoopFlags) -> None:
        self.flags.stop = asked.stop
        if asked.checkpoint != self._asked.checkpoint:
            self.flags.checkpoint.put_up()
        if asked.evaluate != self._asked.evaluate:
            self.flags.evaluate.put_up()
        self._asked = asked

    def _take_seed(self, step: int, seed: int) -> None:
        write_seed(self._config, seed)
        if self.seed is None and step == 0:  # before the task has made anything of it
            seed_libraries(seed, self._seeded)
        elif self.seed is None:
            log.warning(
                "the random generators of this rank were not seeded: initialise torch.distributed before "
                "trainctl.live(cfg), or give trainctl.seed"
            )
        self.seed = seed
