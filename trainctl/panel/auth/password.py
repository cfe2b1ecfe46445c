"""A user and a password for the page: kept as a salted hash only, and few guesses in a minute."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from trainctl.errors import SettingError

USER, PASSWORD = "TRAINCTL_USERNAME", "TRAINCTL_PASSWORD"  # the names of variables
SHORTEST = 8
MOST_GUESSES = 5
WITHIN_S = 60.0
LONGEST = 1024


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who may enter by name and password. Guesses are counted over all clients: there is one person to guess."""

    user: str
    salt: str
    digest: str
    _wrong: deque[float] = field(default_factory=deque, compare=False)

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
        """Return what the server's process is handed."""
        return {"user": self.user, "salt": self.salt, "digest": self.digest}

    @property
    def is_closed(self) -> bool:
        """Say whether there were too many wrong guesses lately."""
        now = time.monotonic()
        while self._wrong and now - self._wrong[0] > WITHIN_S:
            self._wrong.popleft()
        return len(self._wrong) >= MOST_GUESSES

    def admits(self, header: str) -> bool:
        """Say whether an `Authorization: Basic …` header names both; while closed, nobody is admitted.

        >>> given = base64.b64encode(b"me:correct horse").decode()
        >>> known = Credentials.of("me", "correct horse")
        >>> known.admits(f"Basic {given}"), known.admits("Basic bWU6bm8=")
        (True, False)
        """
        if self.is_closed:
            return False
        try:
            user, _, password = base64.b64decode(header.partition(" ")[2], validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            user = password = ""
        is_user = hmac.compare_digest(user.encode(), self.user.encode())
        is_password = hmac.compare_digest(_digest(password[:LONGEST], self.salt), self.digest)
        if not (is_user and is_password):
            self._wrong.append(time.monotonic())
        return is_user and is_password


def _digest(password: str, salt: str) -> str:
    return hashlib.scrypt(password.encode(errors="replace"), salt=salt.encode(), n=2**14, r=8, p=1).hex()
