"""A login elsewhere: Panel's handler for the provider, kept to what the gate needs, the name of who has logged in."""

from __future__ import annotations

import logging
import os
import time
from typing import Any

from panel import config
from panel.auth import AUTH_PROVIDERS, CODE_COOKIE_NAME, STATE_COOKIE_NAME
from panel.util import decode_token
from tornado.web import HTTPError, RequestHandler

from trainctl.panel.auth.access import LOGIN, Access
from trainctl.panel.auth.gate import way_on

log = logging.getLogger("trainctl.panel")

DAY_S = 86400


class Login(RequestHandler):
    """What is different from Panel's own handler, which comes after it in a class made by `login_of`.

    Panel puts the provider's tokens into cookies: these are thrown away, nothing here needs them any more. What remains
    is our cookie with the person's name, sealed.
    """

    access: Access
    _login_endpoint = LOGIN
    _who: str | None = None

    @property
    def _redirect_uri(self) -> str:
        return str(config.oauth_redirect_uri or f"{self.access.scheme}://{self.request.host}{LOGIN}")

    def set_signed_cookie(self, name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        """Keep what belongs to this login, for as long as it takes; learn the name; pass over all else."""
        if name in (STATE_COOKIE_NAME, CODE_COOKIE_NAME):
            only_here: dict[str, Any] = {"path": LOGIN, "httponly": True, "samesite": "Lax", "secure": self._is_secure}
            super().set_signed_cookie(name, value, expires_days=None, **only_here)
        elif name == "user":
            self._who = str(value)
        elif name == "id_token" and decode_token(value).get("email_verified") is False:
            raise HTTPError(403, reason="the provider has not verified this address")

    set_secure_cookie = set_signed_cookie  # as Panel calls it

    def clear_cookie(self, name: str, **kwargs: Any) -> None:
        super().clear_cookie(name, path=LOGIN)

    def redirect(self, url: str, permanent: bool = False, status: int | None = None) -> None:
        """Lead to the provider; or, when somebody has come back from there, to the page that was asked for."""
        if self._who is None:
            super().redirect(url, permanent, status)
            return
        access = self.access
        if access.oauth is None or access.oauth.role_of(self._who) is None:
            log.warning("%r has logged in, but is not one of those who may enter", self._who)
            raise HTTPError(403, reason="this account may not enter; ask who started the page")
        path = f"/{access.prefix}"
        sealed = access.cookie_for(self._who, time.time() + DAY_S * config.oauth_expiry)
        kept: dict[str, Any] = {"path": path, "httponly": True, "samesite": "Strict", "secure": self._is_secure}
        self.set_cookie(access.cookie_name, sealed, **kept)
        # a browser keeps strict cookies back from a redirect that another site began; our own page may go on
        self.finish(way_on(url if url.startswith(f"{path}/") else f"{path}/"))

    def log_exception(self, *error: Any) -> None:
        log.warning("a login failed: %s", error[1])

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{status_code}: {self._reason}; try again at /{self.access.prefix}/\n")

    @property
    def _is_secure(self) -> bool:
        return self.access.scheme == "https"


def login_of(access: Access) -> type[RequestHandler] | None:
    """Return the handler for the provider of an access, and take over Panel's variables; None when it has none."""
    if access.oauth is None:
        return None
    os.environ.update(access.oauth.environment)
    return type("ProviderLogin", (Login, AUTH_PROVIDERS[access.oauth.provider]), {"access": access})
