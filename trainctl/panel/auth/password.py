"""A user and a password for the page, kept as a salted hash only; guesses are limited per minute."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass

from trainctl.errors import SettingError

USER, PASSWORD = "TRAINCTL_USERNAME", "TRAINCTL_PASSWORD"  # the names of variables
SHORTEST = 8
MOST_GUESSES = 5  # of one client for one user
MOST_OF_CLIENT = 20
MOST_COUNTED = 10_000  # counts that are kept; the ones least recently added to are forgotten
WITHIN_S = 60.0
LONGEST = 1024


@dataclass(frozen=True, slots=True)
class Credentials:
    """The one user who may enter by name and password."""

    user: str
    salt: str
    digest: str

    @classmethod
    def of(cls, user: str, password: str) -> Credentials:
        """Return the credentials of a password, which is not kept."""
        salt = secrets.token_hex(16)
        return cls(user, salt, _digest(password, salt))

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> Credentials | None:
        """Read `TRAINCTL_USERNAME` and `TRAINCTL_PASSWORD`; None when neither is set.

        Raises:
            SettingError: one of both is missing, or the password is short.
        """
        user, password = environment.get(USER, ""), environment.get(PASSWORD, "")
        if not user and not password:
            return None
        if not user or not password:
            missing = PASSWORD if user else USER
            raise SettingError(f"{missing} is not set, but {USER if user else PASSWORD} is; set both or neither")
        if len(password) < SHORTEST or ":" in user:
            raise SettingError(f"{PASSWORD} must have at least {SHORTEST} characters, and {USER} no colon")
        return cls.of(user, password)

    def to_dict(self) -> dict[str, str]:
        """Return the dictionary that the server's process is given."""
        return {"user": self.user, "salt": self.salt, "digest": self.digest}

    def is_right(self, user: str, password: str) -> bool:
        """Whether both are right. Takes some 50 ms of a processor, so it is never called in the server's event loop.

        >>> known = Credentials.of("me", "correct horse")
        >>> known.is_right("me", "correct horse"), known.is_right("me", "no"), known.is_right("you", "correct horse")
        (True, False, False)
        """
        is_user = hmac.compare_digest(user.encode(), self.user.encode())
        return hmac.compare_digest(_digest(password[:LONGEST], self.salt), self.digest) and is_user


def parse_basic(header: str) -> tuple[str, str]:
    """Return the user and the password of an `Authorization: Basic …` header; empty ones where it is malformed.

    >>> parse_basic("Basic " + base64.b64encode(b"me:correct: horse").decode()), parse_basic("Basic ?")
    (('me', 'correct: horse'), ('', ''))
    """
    try:
        user, _, password = base64.b64decode(header.partition(" ")[2], validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return user, password


class Guesses:
    """Counts wrong passwords: a few per minute from one client for one user, some more from one client for all users.

    Clients do not share a count, so nobody is locked out by the guesses of others.
    """

    def __init__(self) -> None:
        self._wrong: OrderedDict[tuple[str, str | None], deque[float]] = OrderedDict()

    def is_closed(self, client: str, user: str) -> bool:
        """Whether this client has guessed too often lately."""
        return self._lately((client, user)) >= MOST_GUESSES or self._lately((client, None)) >= MOST_OF_CLIENT

    def note(self, client: str, user: str) -> None:
        """Count a wrong password."""
        for key in ((client, user), (client, None)):
            self._wrong.setdefault(key, deque(maxlen=MOST_OF_CLIENT)).append(time.monotonic())
            self._wrong.move_to_end(key)
        while len(self._wrong) > MOST_COUNTED:
            self._wrong.popitem(last=False)

    def _lately(self, key: tuple[str, str | None]) -> int:
        now = time.monotonic()
        return sum(now - each < WITHIN_S for each in self._wrong.get(key, ()))


def _digest(password: str, salt: str) -> str:
    return hashlib.scrypt(password.encode(errors="replace"), salt=salt.encode(), n=2**14, r=8, p=1).hex()
