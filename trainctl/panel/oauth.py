"""Who may enter by a login elsewhere: one of Panel's OAuth providers. Light: nothing here loads panel.

What is secret, and all else that Panel reads itself, comes from the environment and is handed to the server alone:
`PANEL_OAUTH_KEY`, `PANEL_OAUTH_SECRET`, `PANEL_OAUTH_SCOPE`, … never from a config, which is written into run dirs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from trainctl.config.settings import OAuthSettings
from trainctl.errors import SettingError

# Panel's providers that lead to a login elsewhere and back; those that ask for a password themselves are not among them
PROVIDERS = ("auth0", "auth_code", "azure", "azurev2", "bitbucket", "generic", "github", "gitlab", "google", "okta")
PROVIDER, KEY, SECRET = "PANEL_OAUTH_PROVIDER", "PANEL_OAUTH_KEY", "PANEL_OAUTH_SECRET"
_READ_BY_PANEL = ("PANEL_OAUTH_", "PANEL_USER_KEY", "AAD_TENANT_ID")


@dataclass(frozen=True, slots=True)
class OAuth:
    """A provider, who of its people may enter, and Panel's own variables."""

    provider: str
    users: tuple[str, ...]
    readers: tuple[str, ...]
    environment: Mapping[str, str]

    @classmethod
    def of(cls, settings: OAuthSettings, environment: Mapping[str, str] = os.environ) -> OAuth | None:
        """Read settings and environment; None when no login is asked for.

        Raises:
            SettingError: nobody is named, the provider is not known, or its key or secret is missing.
        """
        if settings.provider is None and not settings.users and not settings.readers:
            return None
        provider = settings.provider or environment.get(PROVIDER)
        if provider not in PROVIDERS:
            raise SettingError(
                f"trainctl.panel.oauth.provider={provider!r} is not known; allowed are {', '.join(PROVIDERS)}, here or "
                f"as {PROVIDER} in the environment"
            )
        if not settings.users and not settings.readers:
            raise SettingError(
                f"trainctl.panel.oauth.provider={provider} lets in whoever has an account there; name those who may "
                "edit in trainctl.panel.oauth.users and those who may look in trainctl.panel.oauth.readers"
            )
        needed = (KEY,) if provider == "auth_code" else (KEY, SECRET)
        if missing := [name for name in needed if not environment.get(name)]:
            raise SettingError(f"trainctl.panel.oauth needs {' and '.join(missing)} in the environment")
        read = {name: text for name, text in environment.items() if name.startswith(_READ_BY_PANEL)}
        return cls(provider, tuple(settings.users), tuple(settings.readers), read)

    def to_dict(self) -> dict[str, Any]:
        """Return what the server's process is handed."""
        return {
            "provider": self.provider,
            "users": list(self.users),
            "readers": list(self.readers),
            "environment": dict(self.environment),
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> OAuth:
        """Read what `to_dict` wrote."""
        return cls(told["provider"], tuple(told["users"]), tuple(told["readers"]), told["environment"])

    def role_of(self, who: str) -> Literal["editor", "reader"] | None:
        """Return what somebody who has logged in may do; None when the settings do not name them. Case counts not.

        >>> oauth = OAuth("github", ("me@lab.org",), ("*@lab.org",), {})
        >>> [oauth.role_of(who) for who in ("Me@lab.org", "you@lab.org", "me@lab.org.evil.example")]
        ['editor', 'reader', None]
        """
        name = who.lower()
        if any(fnmatchcase(name, pattern.lower()) for pattern in self.users):
            return "editor"
        return "reader" if any(fnmatchcase(name, pattern.lower()) for pattern in self.readers) else None
