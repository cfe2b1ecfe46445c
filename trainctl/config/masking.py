"""What is shown to nobody: values of keys that look like secrets, and of `trainctl.hidden`, wherever they stand.

What a tracker is given in place of a value that it must not see.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from trainctl.config.changelog import Changelog, Edit
from trainctl.config.keys import leaves

SECRET = ("*key*", "*token*", "*password*", "*secret*")
MASK = "•••"
WHY = "may be a secret (trainctl.hidden)"
SHORTEST = 6  # of a text that is hidden wherever it stands: shorter ones stand anywhere by chance

# `key=value` anywhere, `key: value` where YAML and JSON have it; looked for only where a word begins, else a long word
# would take the square of its length
_ASSIGNED = re.compile(
    r"""(?<![\w.\-/@])(?P<key>[\w.\-/@]+)(?P<mid>["']?=|["']?:[ ]+)(?P<value>"[^"\n]*"|'[^'\n]*'|[^\s,}\]]+)"""
)


class Masking:
    """Knows which keys of a config are secret, and the texts that stand there.

    Args:
        config: of the run, with nested mappings.
        patterns: further patterns of dotted keys, each covers all below it; one that begins with `!` takes keys out
            again.
        mask: what stands in the place of a secret.
    """

    def __init__(self, config: Mapping[Any, Any], patterns: Iterable[object] = (), *, mask: str = MASK) -> None:
        self._mask = mask
        given = [str(pattern).lower() for pattern in patterns]
        self._hidden = (*SECRET, *_with_all_below(pattern for pattern in given if not pattern.startswith("!")))
        self._shown = _with_all_below(pattern[1:] for pattern in given if pattern.startswith("!"))
        self._texts: set[str] = set()
        for key, value in leaves(dict(config)).items():
            self.learn(key, value)

    def hides(self, key: str) -> bool:
        """Whether a dotted key's value is not to be shown.

        >>> Masking({}).hides("api.KEY"), Masking({}, ["!max_tokens"]).hides("max_tokens"), Masking({}).hides("lr")
        (True, False, False)
        >>> Masking({}, ["data"]).hides("data.path"), Masking({}, ["data"]).hides("database")
        (True, False)
        """
        name = key.lower()
        if name == "trainctl.hidden" or any(fnmatchcase(name, pattern) for pattern in self._shown):
            return False
        return any(fnmatchcase(name, pattern) for pattern in self._hidden)

    def learn(self, key: str, value: Any) -> None:
        """Remember the texts of a key's value if it is secret."""
        if self.hides(key):
            self._texts |= {text for text in _texts(value) if len(text) >= SHORTEST}

    def learn_edits(self, changelog: Changelog) -> None:
        """Remember the texts of all secret values that a run was given."""
        for edit in changelog.edits:
            for part in edit.each:
                for key, value in part.values.items():
                    self.learn(key, value)

    def value(self, key: str, value: Any) -> Any:
        """Return a key's value, or the mask."""
        return self._mask if value is not None and self.hides(key) else self._within(value)

    def values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values by dotted key with the secret ones masked."""
        return {key: self.value(key, value) for key, value in values.items()}

    def edit(self, edit: Edit) -> Edit:
        """Return an edit without secrets: in its values, in its note and in each of its parts."""
        note, parts = edit.note and self.text(edit.note), tuple(map(self.edit, edit.parts))
        return dataclasses.replace(edit, values=self.values(edit.values), note=note, parts=parts)

    def nested(self, config: Mapping[Any, Any], above: str = "") -> dict[Any, Any]:
        """Return nested mappings with the secret values masked."""
        found: dict[Any, Any] = {}
        for name, inner in config.items():
            key = f"{above}{name}"
            is_open = isinstance(inner, Mapping) and inner
            found[name] = self.nested(inner, f"{key}.") if is_open else self.value(key, inner)
        return found

    def text(self, text: str) -> str:
        """Return any text without the secrets that are known, and without what is assigned to a secret key in it.

        >>> Masking({"api_key": "abcdef"}).text("login with abcdef; other_token=xyz lr=1")
        'login with •••; other_token=••• lr=1'
        """
        for secret in sorted(self._texts, key=len, reverse=True):
            text = text.replace(secret, self._mask)
        return _ASSIGNED.sub(self._assigned, text)

    def _assigned(self, found: re.Match[str]) -> str:
        key = found["key"].lstrip("+~-")
        is_word = found["value"] in ("null", "|", ">") or found["value"][:1] in "{[" or key.endswith("Error")
        if is_word or not self.hides(key):
            return found[0]
        return f"{found['key']}{found['mid']}{self._mask}"

    def _within(self, value: Any) -> Any:
        """Mask what is secret within a value that is not: a mapping in a list, a text that repeats a secret."""
        if isinstance(value, str):
            return self.text(value) if self._texts and any(secret in value for secret in self._texts) else value
        if isinstance(value, list):
            return [self._within(inner) for inner in value]
        return self.nested(value) if isinstance(value, Mapping) else value


def patterns_of(config: Mapping[Any, Any], setting: str = "hidden") -> list[object]:
    """Return `trainctl.hidden` of a config, or another setting that lists patterns; nothing when it has none."""
    own = config.get("trainctl")
    given = own.get(setting) if isinstance(own, Mapping) else None
    return list(given) if isinstance(given, list) else []


def _with_all_below(patterns: Iterable[str]) -> tuple[str, ...]:
    return tuple(each for pattern in patterns for each in (pattern, f"{pattern}.*"))


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


OMITTED = "OMITTED"
