"""Watches who reads the value of an edited key first: from the config, from `live.now`, or from the edit in a hook.

An edit changes the config and nothing else. Whether it changes the training depends on code that reads the key again,
so the answer to a request tells that too: `read at step 8`, or `not read within 20 steps`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import mmap
import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

from omegaconf import DictConfig

from trainctl.config import _omegaconf
from trainctl.config.assign import node_of
from trainctl.errors import EditError
from trainctl.rundir.edits import reading
from trainctl.rundir.events import Event
from trainctl.session.schedule import NEVER
from trainctl.session.values import Now, build

log = logging.getLogger(__name__)

WITHIN = 20  # steps in which a key that the loop reads has been read
_MOST = 1 << 16  # keys of edits that are watched in forked children too


@dataclass(slots=True)
class _Watched:
    """One edit that is watched: `left` has its keys that nobody has read and no later edit has set."""

    request: str | None
    step: int
    left: set[str]
    read: dict[str, int | None] = field(default_factory=dict)
    watched: int | None = None  # in how many steps, once it was told that keys were not read
    marks: dict[str, int] = field(default_factory=dict)  # where a forked child marks that it has read a key


class Reads:
    """Watches the keys of edits until they are read, without changing any value or the training.

    Reads of all threads count, and of children that are forked after the edit, such as the workers of a DataLoader; of
    the training thread those in `own()` do not, which are this package's. `live.step()` only asks `look` to tell what
    is overdue; the I/O thread writes what there is to tell.

    Args:
        config: of the task.
        position: returns the step that runs.
        give: writes an event.
    """

    def __init__(self, config: DictConfig, position: Callable[[], int], give: Callable[[Event], object]) -> None:
        self.seen: set[str] = set()  # watched keys that `own()` has read
        self._config = config
        self._position = position
        self._give = give
        self._owner: dict[str, _Watched] = {}
        self._news: deque[_Watched] = deque()
        self._own: int | None = None  # the thread whose reads do not count
        self._pid = os.getpid()
        self._marks = mmap.mmap(-1, _MOST)  # shared with forked children
        self._marked = 0

    @contextlib.contextmanager
    def own(self) -> Iterator[None]:
        """Do not count reads of this thread: the package's own code runs."""
        before, self._own = self._own, threading.get_ident()
        try:
            yield
        finally:
            self._own = before

    @contextlib.contextmanager
    def task(self) -> Iterator[None]:
        """Count reads of this thread again, inside `own()`: the task's code runs."""
        before, self._own = self._own, None
        try:
            yield
        finally:
            self._own = before

    @property
    def next_step(self) -> int:
        """The step at which unread keys are reported next; `NEVER` when there are none."""
        waiting = [one.step for one in list(self._owner.values()) if one.watched is None]
        return min(waiting) + WITHIN if waiting else NEVER

    def watch(self, edits: Iterable[tuple[str | None, Collection[str]]], step: int) -> None:
        """Watch the keys of edits that have just changed the config at a step; the last one that set a key counts.

        Args:
            edits: the request of each, and its keys.
            step: the one that begins.
        """
        for request, keys in edits if _omegaconf.IS_KNOWN else ():
            watched = _Watched(request, step, {key for key in keys if self._is_there(key)})
            for key in watched.left:
                watched.marks[key] = self._marked = min(self._marked + 1, _MOST)
                self._replace(key, watched)
            if not watched.left:  # it has only taken entries out
                self._news.append(watched)
        self.arm()

    def _is_there(self, key: str) -> bool:
        """Whether the config has a key; an edit may have removed it."""
        try:
            node_of(self._config, key)
        except EditError:
            return False
        return True

    def arm(self) -> None:
        """Watch the nodes of all unread keys again, since an edit may have replaced nodes."""
        for key in list(self._owner):
            with contextlib.suppress(EditError):
                _omegaconf.watch(node_of(self._config, key), functools.partial(self.take, key))

    def followed(self, keys: Collection[str], apply: Callable[[Now], object]) -> set[str]:
        """Call a binding, and return the keys whose values it reads, also through interpolations."""
        found = _Taken()
        nodes = {key: node_of(self._config, key) for key in keys}
        for key, node in nodes.items():
            _omegaconf.watch(node, functools.partial(found.look, key))
        try:
            now = build(self._config, found)
        finally:
            for node in nodes.values():
                _omegaconf.unwatch(node)
            self.arm()
        apply(now)
        return found.taken

    def take(self, key: str) -> bool:
        """Note that a key was read; return False if the read does not count. Any thread calls this."""
        if os.getpid() != self._pid:
            self._mark(key)
        elif self._own == threading.get_ident():
            self.seen.add(key)
            return False
        else:
            self._note(key)
        return True

    def look(self, step: int) -> None:
        """Report the keys that were not read in time, up to the start of this step."""
        self._take_marked()
        for watched in list(self._owner.values()):
            if watched.watched is None and step >= watched.step + WITHIN:
                self._tell_unread(watched, step)

    def end(self, step: int) -> None:
        """Report all keys still unread at the end of the run; `step` was the last one."""
        self._take_marked()
        for watched in list(self._owner.values()):
            if watched.watched is None:
                self._tell_unread(watched, step + 1)
        self.write()

    def write(self) -> None:
        """Write the events that are waiting."""
        self._take_marked()
        while self._news:
            one = self._news.popleft()
            if one.request is not None:
                self._give(Event(one.request, "read", step=one.step, read=dict(one.read), watched=one.watched))

    def _note(self, key: str) -> None:
        watched = self._owner.pop(key, None)
        if watched is not None:
            watched.left.discard(key)
            watched.read[key] = max(watched.step, self._position())
            if not watched.left or watched.watched is not None:
                self._news.append(watched)

    def _mark(self, key: str) -> None:
        watched = self._owner.get(key)
        place = _MOST if watched is None else watched.marks[key]
        if place < _MOST:
            self._marks[place] = 1

    def _take_marked(self) -> None:
        """Note the reads by forked children; each edit of a key has its own mark."""
        for key, watched in list(self._owner.items()):
            place = watched.marks[key]
            if place < _MOST and self._marks[place]:
                self._note(key)

    def _replace(self, key: str, watched: _Watched) -> None:
        """Watch a key for a new edit; the earlier edit of this key is no longer tracked."""
        before = self._owner.get(key)
        self._owner[key] = watched
        if before is not None:
            before.left.discard(key)
            if not before.left and before.read:
                self._news.append(before)

    def _tell_unread(self, watched: _Watched, step: int) -> None:
        unread = sorted(watched.left)
        watched.watched = step - watched.step
        watched.read |= dict.fromkeys(unread)
        self._news.append(watched)
        said = reading(dict.fromkeys(unread), watched.watched)
        log.warning("the edit at step %d: %s %s", watched.step, ", ".join(unread), said)


class _Taken:
    """Notes which keys are read from one `live.now` in which all keys are watched."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.taken: set[str] = set()

    def look(self, key: str) -> bool:
        self.seen.add(key)
        return False

    def take(self, key: str) -> bool:
        self.taken.add(key)
        return True
