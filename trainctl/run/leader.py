"""The session of rank 0 among others: it works as alone, and tells the others of all that takes effect."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from trainctl.config.changelog import Edit
from trainctl.errors import RankError
from trainctl.run.agreement import Agreement, Asked, Failure, Task, Whole
from trainctl.run.attempt import describe
from trainctl.run.resume import values_at
from trainctl.run.session import Session


class Leader:
    """Holds the meetings at which a session's edits and actions are told, each before the task's own hooks run here.

    So a hook or an action may wait for the other ranks: they are in it too.
    """

    def __init__(self, session: Session, agreement: Agreement) -> None:
        self._session: Session | None = session
        self._agreement = agreement
        self._asked = Asked(stop=False, checkpoint=0, evaluate=0)
        self._must_tell_all = True
        session.tell = session.doing.tell = self._tell

    @property
    def next_step(self) -> int:
        """The step of the next meeting."""
        return self._agreement.next_step

    def close(self) -> None:
        """Let the others train on alone; they are told so at the next meeting."""
        self._session = None

    def begin_step(self, step: int, *, is_epoch: bool = False) -> None:
        """Meet the other ranks at `step` and let all that is due take effect.

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
            self._agreement.say(Failure(describe(error)))
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
            values = values_at(session.record.changelog, session.begun, session.touched)
            self._agreement.say(Whole(session.attempt.seed, Edit(session.begun, values, via="resume")))

    def _ask(self, session: Session) -> None:
        flags = session.flags
        asked = Asked(flags.stop, flags.checkpoint.times, flags.evaluate.times)
        if asked != self._asked:
            self._asked = asked
            self._agreement.say(asked)
