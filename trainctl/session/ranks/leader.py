"""The session of rank 0 among several ranks: it works as alone, and sends the others everything that takes effect."""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Callable, Iterator

from trainctl.attempt.attempt import describe
from trainctl.attempt.process import distributed, rank, world_size
from trainctl.config.changelog import Edit
from trainctl.errors import RankError, SettingError
from trainctl.session.checkpoint import values_at
from trainctl.session.ranks.follower import Follower
from trainctl.session.ranks.protocol import Agree, Agreement, LoopFlags, RankFailure, Task, Whole
from trainctl.session.step import Session


class Leader:
    """Holds the meetings at which edits and actions are sent to all ranks, each before the task's hooks run here.

    So a hook or an action may wait for the other ranks, which run it too.
    """

    def __init__(self, session: Session, agreement: Agreement) -> None:
        self._session: Session | None = session
        self._agreement = agreement
        self._asked = LoopFlags(stop=False, checkpoint=0, evaluate=0)
        self._must_tell_all = True
        session.listeners.tell = session.runner.tell = self._tell
        session.show_life = lambda: self._tell(None)

    @property
    def next_step(self) -> int:
        """The step of the next meeting."""
        return self._agreement.next_step

    def close(self) -> None:
        """Let the other ranks train on alone; they learn of it at the next meeting."""
        self._session = None

    def begin_step(self, step: int, *, is_epoch: bool = False) -> None:
        """Meet the other ranks at `step` and apply everything that is due.

        Raises:
            RankError: another rank is gone.
            Exception: as `Session.begin_step`; the other ranks raise too then.
        """
        with self._meeting(step) as session:
            if session is not None:
                self._tell_all(session)
                session.begin_step(step, is_epoch=is_epoch)
                self._ask(session)

    def meet_for(self, step: int, change: Callable[[], object]) -> None:
        """Meet the other ranks after `step` for a change of the session: what a checkpoint has edited.

        Raises:
            RankError: another rank is gone.
            Exception: what the change raised; the other ranks raise too then.
        """
        with self._meeting(step):
            change()

    @contextlib.contextmanager
    def _meeting(self, step: int) -> Iterator[Session | None]:
        self._agreement.begin(step)
        try:
            yield self._session
        except RankError:  # there is nobody to tell
            raise
        except Exception as error:
            self._agreement.say(RankFailure(describe(error)))
            raise
        finally:
            self._agreement.end(None if self._session is None else self._session.next_step)

    def _tell(self, content: Edit | Task | None) -> None:
        if self._agreement.is_on:
            self._agreement.say(content)
        else:
            self._must_tell_all = True  # an edit outside of a step: a resume

    def _tell_all(self, session: Session) -> None:
        if self._must_tell_all:
            self._must_tell_all = False
            values = values_at(session.record.changelog, session.begun, session.applier.touched)
            self._agreement.say(
                Whole(session.attempt.seed, Edit(session.begun, values, via="resume"), session.attempt.previous)
            )

    def _ask(self, session: Session) -> None:
        flags = session.flags
        asked = LoopFlags(flags.stop, flags.checkpoint.times, flags.evaluate.times)
        if asked != self._asked:
            self._asked = asked
            self._agreement.say(asked)


log = logging.getLogger(__name__)

_BY_TORCH = "trainctl.frameworks.ranks"  # imported only in a process that has initialised torch.distributed


def can_be_found(agree: Agree | None) -> bool:
    """Whether other ranks could be met now."""
    return agree is not None or distributed() is not None


def find(agree: Agree | None, every: int) -> Agreement | None:
    """Return the agreement of all ranks: by `agree` if given, else by torch.distributed; None without either.

    All ranks must call it at the same time: with torch.distributed they make a process group here.
    """
    torch = distributed()
    if agree is None and torch is not None and torch.get_world_size() > 1:
        agree = importlib.import_module(_BY_TORCH).make_agree()
    return None if agree is None else Agreement(agree, every)


def join(member: Session | Follower, agreement: Agreement) -> Leader | Follower:
    """Return the object that begins the steps of this rank from now on."""
    if isinstance(member, Follower):
        member.agreement = agreement
        return member
    return Leader(member, agreement)


def give_up(agree: Agree | None, reason: str) -> None:
    """Tell the other ranks why rank 0 has no session, since they would wait for it when they open their own."""
    agreement = find(agree, 1)
    if agreement is not None:
        agreement.begin(0)
        agreement.say(RankFailure(reason))
        agreement.end(None)


def warn_of_draws(session: Session) -> None:
    """Say on rank 0 which values each rank has drawn for itself, where the ranks cannot meet before the first step."""
    drawn = session.applier.touched
    if drawn and world_size() > 1:
        log.warning(
            "each rank has drawn %s for itself: all have rank 0's values from the first step on, or at once where "
            "torch.distributed is initialised before trainctl.live(cfg)",
            ", ".join(sorted(drawn)),
        )


def check_alone() -> None:
    """Refuse to train where other ranks would not hear of edits; called at the first step without an agreement.

    Raises:
        SettingError: the environment says that there are other ranks.
    """
    if world_size() > 1:
        raise SettingError(
            f"this is one of {world_size()} ranks (WORLD_SIZE), and they cannot agree on edits: initialise "
            "torch.distributed before the first live.step(), or give trainctl.live(cfg, agree=…)"
        )
    if rank() != 0:
        log.warning("this is rank %d, and it does not hear of edits: torch.distributed is not initialised", rank())
