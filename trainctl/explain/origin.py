"""The origin of a config's values: what set each, and which values it replaced."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from trainctl.config import keys, yaml
from trainctl.config.masking import Masking
from trainctl.config.values import is_same
from trainctl.errors import SettingError

Kind = Literal["file", "from", "command line", "pair", "edit", "unknown"]

_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Source:
    """What set a value.

    Attributes:
        kind: a config of the defaults list, an earlier run, an override, a pair of options, an edit of the running run.
        text: which one.
    """

    kind: Kind
    text: str

    def __str__(self) -> str:
        return self.text if self.kind in ("file", "from") else f"{self.kind} {self.text}"


@dataclass(frozen=True, slots=True)
class Setting:
    """One value that a key had.

    Attributes:
        value: plain, references as text; None too where the key was taken out.
        is_gone: the key was taken out.
    """

    value: Any
    source: Source
    is_gone: bool = False


class History:
    """All values that each key of a config had, by dotted key, the last one at the end.

    >>> history = History()
    >>> history.note({"lr": 0.1, "n": 1}, ["lr", "n"], Source("file", "conf/config.yaml"))
    >>> history.note({"lr": 0.2, "n": 1}, ["lr"], Source("command line", "lr=0.2"))
    >>> [str(setting.source) for setting in history["lr"]], len(history["n"])
    (['conf/config.yaml', 'command line lr=0.2'], 1)
    """

    def __init__(self) -> None:
        self._settings: dict[str, list[Setting]] = {}

    def __getitem__(self, key: str) -> list[Setting]:
        return self._settings[key]

    def __contains__(self, key: object) -> bool:
        return key in self._settings

    def keys(self) -> list[str]:
        """Return the keys that the config has, in its order."""
        return [key for key, settings in self._settings.items() if not settings[-1].is_gone]

    def note(self, now: Mapping[str, Any], given: Iterable[str], source: Source) -> None:
        """Note what a source has made of the config.

        Args:
            now: all leaves of the config after it.
            given: the keys that it sets, though they may have been the same before.
            source: which it is.
        """
        said = set(given)
        for key, value in now.items():
            if key in said or not is_same(self._last(key), value):
                self._settings.setdefault(key, []).append(Setting(value, source))
        for key, settings in self._settings.items():
            if key not in now and not settings[-1].is_gone:
                settings.append(Setting(None, source, is_gone=True))

    def set(self, values: Mapping[str, Any], source: Source) -> None:
        """Note values that a source has set; all others stay."""
        for key, value in values.items():
            self._settings.setdefault(key, []).append(Setting(value, source))

    def settle(self, final: Mapping[str, Any], source: Source) -> None:
        """Note as of `source` whatever differs from the config as it was in the end."""
        last = {key: self._settings[key][-1].value for key in self.keys()}
        known: Any = yaml.loads(yaml.dumps(last))  # `final` has been through YAML too
        different = {key: value for key, value in final.items() if key not in known or not is_same(known[key], value)}
        now = {**{key: value for key, value in last.items() if key in final}, **different}
        self.note(now, different, source)

    def masked(self, masking: Masking) -> History:
        """Return this history with the secrets masked, in the values and in the texts of their sources."""
        found = History()
        for key, settings in self._settings.items():
            found._settings[key] = [
                Setting(
                    masking.value(key, each.value),
                    Source(each.source.kind, masking.text(each.source.text)),
                    each.is_gone,
                )
                for each in settings
            ]
        return found

    def _last(self, key: str) -> Any:
        settings = self._settings.get(key)
        return _ABSENT if not settings or settings[-1].is_gone else settings[-1].value


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known of where values come from.

    Attributes:
        history: all values that each key had.
        unknown: why some of it is not known, one sentence each.
        help: dotted key -> what a source says of it, such as the comment in an .ini file.
    """

    history: History
    unknown: list[str]
    help: Mapping[str, str] = field(default_factory=dict)

    def masked(self, masking: Masking) -> Explanation:
        """Return it without secrets."""
        said = {key: masking.text(text) for key, text in self.help.items()}
        return Explanation(self.history.masked(masking), [masking.text(each) for each in self.unknown], said)


def said_of_edit(step: int, who: str | None, via: str | None, note: str | None) -> str:
    """Name an edit.

    >>> said_of_edit(20, "ada", "page", "calmer"), said_of_edit(3, None, None, None)
    ('at step 20 by ada, page: calmer', 'at step 3')
    """
    by = ", ".join(filter(None, (who, via)))
    return f"at step {step}{f' by {by}' if by else ''}{f': {note}' if note else ''}"


def below(history: History, key: str | None) -> list[str]:
    """Return the keys at or below a dotted key; for None all but the settings of trainctl."""
    if key is None:
        return [each for each in history.keys() if keys.split(each)[0] != "trainctl"]  # noqa: SIM118  # no mapping
    parts = keys.split(key)
    return [each for each in history.keys() if keys.split(each)[: len(parts)] == parts]  # noqa: SIM118  # no mapping


def check_key(history: History, key: str | None) -> None:
    """Refuse a key that the config does not have.

    Raises:
        SettingError: naming those that are like it.
    """
    if key is not None and not below(history, key):
        near = difflib.get_close_matches(key, dict.fromkeys([*_groups(history), *history.keys()]), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(_groups(history))}"
        raise SettingError(f"the config has no {key}; {hint}")


def rows(
    history: History, key: str | None = None, shown: Callable[[str, Any], Any] = lambda _key, value: value
) -> list[tuple[str, str, str, str]]:
    """Return for each key its value, what set it, and what that replaced, the last one first.

    Args:
        history: of the whole config.
        key: that one and all below it; all for None.
        shown: what to show of a key's value.

    >>> history = History()
    >>> history.note({"lr": 0.1}, ["lr"], Source("file", "conf/config.yaml"))
    >>> history.note({"lr": 0.2}, ["lr"], Source("command line", "lr=0.2"))
    >>> rows(history)
    [('lr', '0.2', 'command line lr=0.2', '0.1 (conf/config.yaml)')]
    """
    found = []
    for each in below(history, key):
        *before, last = history[each]
        said = [said_of_value(setting, shown(each, setting.value)) for setting in history[each]]
        replaced = "; ".join(
            f"{text} ({setting.source})" for text, setting in zip(said[-2::-1], reversed(before), strict=True)
        )
        found.append((each, said[-1], str(last.source), replaced))
    return found


def said_of_value(setting: Setting, value: Any) -> str:
    """Write a setting's value, or what is shown of it, on one line."""
    return "(taken out)" if setting.is_gone else yaml.inline(value)


def _groups(history: History) -> list[str]:
    return sorted({keys.split(key)[0] for key in history.keys()})  # noqa: SIM118  # no mapping
