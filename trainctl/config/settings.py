"""The settings of a run, `trainctl:` in a config: how it is edited, replayed, seeded and shown."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from trainctl.config.settings_node import NODE, changed, kept_node, merged, own_node
from trainctl.config.snapshot import snapshot
from trainctl.config.values import literal
from trainctl.errors import SettingError

REPLAY_MODES = ("refuse", "follow", "fork")
FLAG_NAMES = ("as_written", "dashes", "underscores")


@dataclass
class IdentitySettings:
    # Key patterns ignored when two jobs are compared (`data.path`, `log.*`). `trainctl.*` is always ignored, except
    # `seed`, `replay`, `controls` and `editable`.
    exclude: list[str] = field(default_factory=list)


@dataclass
class PanelSettings:
    # whether a page is started for this sweep or run
    enabled: bool = True

    # address to listen on; any other than a loopback address needs authentication
    address: str = "127.0.0.1"

    # port to listen on; 0 takes a free one
    port: int = 0

    # names under which a proxy or tunnel shows the page, such as lab.example or lab.example:8443; localhost,
    # 127.0.0.1 and [::1] need not be named, with whatever port
    hosts: list[str] = field(default_factory=list)

    # sites whose pages may ask, as browsers write them, where that is neither http:// nor https:// and one of `hosts`
    origins: list[str] = field(default_factory=list)

    # path below which a proxy serves it, such as /trainctl or /user/me/proxy/{port}; whether the proxy takes it off or
    # passes it on
    prefix: str | None = None

    # whether the page is opened in a browser
    open: bool = False

    # PEM files of a certificate and its private key: the page is served by TLS
    cert: str | None = None
    key: str | None = None

    # minutes for which the page's server stays after the last run has ended (0: not at all; inf: until it is ended by
    # hand); while somebody has the page open it stays in any case
    keep_min: float = 10.0

    # header in which a reverse proxy (oauth2-proxy, Authelia, ...) names who has logged in, such as X-Forwarded-User.
    # The proxy sends the value of TRAINCTL_PROXY_SECRET as X-Trainctl-Proxy-Secret, or the header is refused
    user_header: str | None = None

    # who may edit, and who may only look: names as the proxy tells them, patterns with *; nobody else gets in
    users: list[str] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)

    # addresses or networks from which the proxy connects
    trusted_proxies: list[str] = field(default_factory=lambda: ["127.0.0.1", "::1"])

    # address under which people reach the proxy, such as https://lab.example
    public_url: str | None = None


@dataclass
class RunSettings:
    # the commands of `trainctl run` that are run; null runs all
    only: list[str] | None = None

    # whether commands that are finished run again
    force: bool = False

    # how ${flag:my_key} writes its key: as_written, dashes (--my-key), underscores (--my_key)
    flags: str = "as_written"

    # whether the terminal shows what the commands print
    debug: bool = False


@dataclass
class Settings:
    # whether keys can be changed while the run trains; false locks all of them
    editable: bool = True

    # rules for edits, by key pattern: {model.*: "!"} locks all keys of model
    controls: dict[str, Any] = field(default_factory=dict)

    # a run directory or changelog whose edits are applied again at their steps
    replay: str | None = None

    # what a live edit does during a replay: refuse, follow (it is applied, and the recorded edits go on for all other
    # keys), fork (it is applied, and the rest of the recorded edits is dropped)
    replay_mode: str = "refuse"

    # what happens if the replayed config at step 0 differs from this run's: error, or allow
    drift: str = "error"

    # seconds between two looks into the inbox
    poll_s: float = 0.05

    # steps between two meetings of the ranks of a distributed run
    sync_every: int = 10

    # a directory on a disk of this machine, for the locks of runs whose file system has none (NFS without its lock
    # service, some Lustre); such runs are used from this machine alone
    locks: str | None = None

    # seed of `random`, NumPy and torch; null draws one and records it
    seed: int | None = None

    identity: IdentitySettings = field(default_factory=IdentitySettings)

    # import path of a `trainctl.Pairs` that says which options of two groups go together, and adapts their config
    pairs: str | None = None

    # what a sweep does with options that do not go together: skip (leaves these jobs out), or error (starts none)
    incompatible: str = "skip"

    # values that are missing (???) when a run starts: allow (an error when one is read, as in Hydra), error (at once)
    missing: str = "allow"

    # true, or a key: print where values come from (all of them, or those at the key and below), and run nothing
    explain: Any = False

    run: RunSettings = field(default_factory=RunSettings)

    panel: PanelSettings = field(default_factory=PanelSettings)

    # key patterns whose values the page must not show; what looks like a credential (token, *_token, api_key,
    # *password*, *secret*) need not be named, and "!join_token" shows what only looks like one
    hidden: list[str] = field(default_factory=list)

    # trackers that get config, metrics and edits: mlflow, tensorboard, wandb
    track: list[str] = field(default_factory=list)

    # whether trackers get metrics: true, false, or auto (not into a run that the task has opened and logs to)
    track_metrics: Any = "auto"

    # key patterns whose values, with all below them, trackers must not get; what is `hidden` need not be named
    omit: list[str] = field(default_factory=list)


def recorded(config: DictConfig) -> dict[Any, Any]:
    """Return the snapshot of a task's config, with those of its settings that differ from the defaults.

    Settings that stand in the config itself are all kept, since its interpolations may refer to them.

    >>> config = OmegaConf.create({"lr": 0.1, "hydra": {"trainctl": {"seed": 3, "drift": "error"}}})
    >>> recorded(config)
    {'lr': 0.1, 'trainctl': {'seed': 3}}
    """
    base, kept = snapshot(config), kept_node(config)
    if kept is not None:
        own = base.pop(NODE, None)
        base[NODE] = merged(changed(snapshot(kept), _defaults()), own if isinstance(own, dict) else {})
    return base


@functools.cache
def _defaults() -> dict[Any, Any]:
    found: dict[Any, Any] = OmegaConf.to_container(OmegaConf.structured(Settings))  # type: ignore[assignment]
    return found


def settings_of(config: DictConfig) -> Settings:
    """Read the settings of a task's config, from inside it or beside it; missing ones have their defaults.

    Where they stand in both places, those inside the config win.

    Raises:
        SettingError: an unknown key, or a value of the wrong type or not allowed.
    """
    own = own_node(config)
    if own is not None and not isinstance(own, DictConfig):
        raise SettingError(f"{NODE}={own!r} is not a mapping; allowed below it are {_known(Settings)}")
    try:
        plain: dict[Any, Any] = {}
        for given in (kept_node(config), own):
            if given is not None:  # a typed node can hold unknown keys too: `+trainctl.x=1`
                plain = merged(plain, literal(OmegaConf.to_container(given, resolve=True)))
        if not plain:
            return Settings()
        settings = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Settings), plain))
    except ConfigKeyError as error:
        known = _known(error.object_type or Settings)
        raise SettingError(f"trainctl.{error.full_key} is not a setting; allowed are {known}") from error
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise SettingError(f"trainctl.{error.full_key or ''}: {reason}") from error
    assert isinstance(settings, Settings)
    _check_words(settings)
    for name, least in (("poll_s", 0.001), ("sync_every", 1)):
        value = getattr(settings, name)
        if not least <= value < math.inf:  # nan is refused too
            raise SettingError(f"trainctl.{name} must be at least {least} but got {value}")
    if not 0 <= settings.panel.port <= 65535:
        raise SettingError(f"trainctl.panel.port must be between 0 and 65535 but got {settings.panel.port}")
    if not settings.panel.keep_min >= 0:  # nan is refused too
        raise SettingError(f"trainctl.panel.keep_min must be at least 0 minutes but got {settings.panel.keep_min}")
    if settings.seed is not None and not 0 <= settings.seed < 2**32:
        raise SettingError(f"trainctl.seed must be between 0 and 4294967295 but got {settings.seed}")
    return settings


def given_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that differ from the defaults, as plain values.

    >>> given_settings(Settings(seed=3))
    {'seed': 3}
    """
    default = asdict(Settings())
    return {name: value for name, value in asdict(settings).items() if value != default[name]}


def _check_words(settings: Settings) -> None:
    for name, value, allowed in (
        ("drift", settings.drift, "error and allow"),
        ("incompatible", settings.incompatible, "skip and error"),
        ("missing", settings.missing, "error and allow"),
        ("run.flags", settings.run.flags, ", ".join(FLAG_NAMES)),
        ("replay_mode", settings.replay_mode, ", ".join(REPLAY_MODES)),
        ("track_metrics", str(settings.track_metrics).lower(), "auto, true and false"),
    ):
        if value not in re.split(r", | and ", allowed):
            raise SettingError(f"trainctl.{name}={value!r} is not known; allowed are {allowed}")


def _known(settings: Any) -> str:
    return ", ".join(sorted(field.name for field in fields(settings)))
