"""Masking of secrets: texts that look like credentials, and values of `trainctl.hidden`, wherever they appear."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from trainctl.config.changelog import Changelog, Edit
from trainctl.config.keys import leaves

# names of credentials: the last part of a key (`api.key` counts like `api_key`); `_SECRET` also for a section
_CREDENTIAL = re.compile(r"(?:.*_)?(?:token|api_?keys?|access_key|private_key|passphrase)")
_SECRET = re.compile(r".*(?:password|passwd|secret|credential).*")
_OF_A_TOKENIZER = re.compile(r"(?:bos|eos|unk|sep|pad|cls|mask)_token")  # `eos_token: </s>`
_KEY = re.compile(r"(?:.*_)?keys?")
_RANDOM = re.compile(r"(?=\D*\d)[\w\-+/=]{20,}", re.ASCII)  # a text that is a credential if its key is called `…_key`
# digits in one way only, else a long text would take the square of its length
_NUMBER = re.compile(
    r"[-+]?(?:(?:[\d_]+(?:\.[\d_]+)?|\.[\d_]+)(?:e[-+]?\d+)?|\.?inf|\.?nan)|true|false|null|none", re.IGNORECASE
)
# missing, or a reference: `${oc.env:TOKEN}` is not the secret itself
_ELSEWHERE = re.compile(r"\?\?\?|\$\{[\w.:/-]+\}")
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")  # `apiKey`
MASK = "•••"
WHY = "may be a secret (trainctl.hidden)"
_MOST_ASKED = 1000
SHORTEST = 6  # characters of a text that is hidden wherever it appears: shorter ones appear by chance

# `key=value` anywhere, `key: value` where YAML and JSON have it; looked for only where a word begins, else a long word
# would take the square of its length
_ASSIGNED = re.compile(
    r"""(?<![\w.\-/@])(?P<key>[\w.\-/@]+)(?P<mid>["']?=|["']?:[ ]+)(?P<value>"[^"\n]*"|'[^'\n]*'|[^\s,}\]]+)"""
)


class Masking:
    """Knows which keys of a config are secret, and their values.

    A key that looks like a credential's (`token`, `hf_token`, `api_key`, anything with `password` or `secret`) hides
    text, never a number: `max_tokens`, `tokenizer_name` and `num_key_value_heads` are not secrets. Given patterns hide
    any value.

    Args:
        config: of the run, with nested mappings.
        patterns: further patterns of dotted keys, each covers all below it; one that begins with `!` takes keys out
            again.
        mask: the replacement of a secret.
    """

    def __init__(self, config: Mapping[Any, Any], patterns: Iterable[object] = (), *, mask: str = MASK) -> None:
        self._mask = mask
        given = [str(pattern).lower() for pattern in patterns]
        self._hidden = _with_all_below(pattern for pattern in given if not pattern.startswith("!"))
        self._shown = _with_all_below(pattern[1:] for pattern in given if pattern.startswith("!"))
        self._texts: set[str] = set()
        self._asked: dict[str, bool] = {}  # a log has few keys, each on every line
        for key, value in leaves(dict(config)).items():
            self.learn(key, value)

    @property
    def hidden_names(self) -> set[str]:
        """The longest word of each pattern that hides a key, in lower case; empty for one that has none."""
        return {max(re.split(r"\W+", pattern), key=len) for pattern in self._hidden}

    def hides(self, key: str) -> bool:
        """Whether a text at this dotted key must be masked.

        >>> Masking({}).hides("api.KEY"), Masking({}, ["!hf_token"]).hides("hf_token"), Masking({}).hides("max_tokens")
        (True, False, False)
        >>> Masking({}, ["data"]).hides("data.path"), Masking({}, ["data"]).hides("database")
        (True, False)
        """
        return not self._is_shown(key) and (self._is_named(key) or _is_credential(key))

    def conceals(self, key: str, value: Any) -> bool:
        """Whether this value of a dotted key must be masked; the null of a credential counts too.

        >>> Masking({}).conceals("pin_token", 1234), Masking({}).conceals("pin_token", "x")
        (False, True)
        >>> Masking({}).conceals("token", "${oc.env:TOKEN}"), Masking({}).conceals("token", "${oc.env:TOKEN,x}")
        (False, True)
        """
        if self._is_shown(key) or (isinstance(value, str) and _ELSEWHERE.fullmatch(value)):
            return False
        texts = [text for text in _leaves_of(value) if isinstance(text, str)]
        if self._is_named(key):
            return True
        if _is_credential(key):
            return bool(texts) or value is None
        return bool(_KEY.fullmatch(_names(key)[-1])) and any(map(_RANDOM.fullmatch, texts))

    def _is_shown(self, key: str) -> bool:
        name = key.lower()
        return name == "trainctl.hidden" or any(fnmatchcase(name, pattern) for pattern in self._shown)

    def _is_named(self, key: str) -> bool:
        return any(fnmatchcase(key.lower(), pattern) for pattern in self._hidden)

    def learn(self, key: str, value: Any) -> None:
        """Remember the texts of a key's value if it is secret, else the secret texts inside it.

        >>> masking = Masking({"users": [{"name": "ada", "token": "abcdefgh"}]})
        >>> masking.text("ada: abcdefgh")
        'ada: •••'
        """
        if not self.conceals(key, value):
            inside = (
                value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
            )
            for name, inner in inside:
                self.learn(f"{key}.{name}", inner)
        else:
            hidden = (each for each in _leaves_of(value) if isinstance(each, str) or self._is_named(key))
            texts = (str(each) for each in hidden if each is not None and not isinstance(each, bool))
            self._texts |= {text for text in texts if len(text) >= SHORTEST}

    def include(self, other: Masking) -> None:
        """Also hide the secret texts that another `Masking` has learned."""
        self._texts |= other._texts

    def learn_edits(self, changelog: Changelog) -> None:
        """Remember the texts of all secret values in the edits of a run."""
        for edit in changelog.edits:
            for part in edit.each:
                for key, value in part.values.items():
                    self.learn(key, value)

    def value(self, key: str, value: Any) -> Any:
        """Return a key's value, or the mask."""
        return self._mask if value is not None and self.conceals(key, value) else self._within(value)

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
        """Mask known secrets in a text, and values assigned to secret keys in it.

        >>> Masking({"api_key": "abcdef"}).text("login with abcdef; other_token=xyz lr=1")
        'login with •••; other_token=••• lr=1'
        """
        for secret in sorted(self._texts, key=len, reverse=True):
            text = text.replace(secret, self._mask)
        return _ASSIGNED.sub(self._assigned, text) if "=" in text or ": " in text else text

    def _assigned(self, found: re.Match[str]) -> str:
        key = found["key"].lstrip("+~-")
        value = found["value"]
        is_word = value in ("null", "|", ">") or value[:1] in "{[" or key.endswith("Error")
        if len(self._asked) > _MOST_ASKED:
            self._asked.clear()
        if (is_hidden := self._asked.get(key)) is None:
            is_hidden = self._asked[key] = self.hides(key)
        if is_word or not is_hidden or (_NUMBER.fullmatch(value) and not self._is_named(key)):
            return found[0]
        return f"{found['key']}{found['mid']}{self._mask}"

    def _within(self, value: Any) -> Any:
        """Mask secrets within a value that is not secret itself: in a mapping in a list, in a text that repeats one."""
        if isinstance(value, str):
            return self.text(value) if self._texts and any(secret in value for secret in self._texts) else value
        if isinstance(value, list):
            return [self._within(inner) for inner in value]
        return self.nested(value) if isinstance(value, Mapping) else value


def is_secret(key: str, text: str) -> bool:
    """Whether the value of an override, as it is written, is a credential.

    >>> is_secret("api.token", "abc"), is_secret("use_token", "true"), is_secret("pin_token", "1e3")
    (True, False, False)
    """
    return not _NUMBER.fullmatch(text) and Masking({}).conceals(key.replace("/", "."), text)


def patterns_of(config: Mapping[Any, Any], setting: str = "hidden") -> list[object]:
    """Return `trainctl.hidden` of a config, or another setting that lists patterns; empty if not set."""
    own = config.get("trainctl")
    given = own.get(setting) if isinstance(own, Mapping) else None
    return list(given) if isinstance(given, list) else []


def _with_all_below(patterns: Iterable[str]) -> tuple[str, ...]:
    return tuple(each for pattern in patterns for each in (pattern, f"{pattern}.*"))


def _names(key: str) -> list[str]:
    """Return the words of a key in lower case.

    >>> _names("login.API-key"), _names("apiKey")
    (['login', 'api_key'], ['api_key'])
    """
    return [_WORDS.sub("_", part).replace("-", "_").lower() for part in re.split(r"[./@]", key)]


def _is_credential(key: str) -> bool:
    names = _names(key)
    last = "_".join(names[-2:]) if names[-1] in ("key", "keys") else names[-1]
    is_credential = _CREDENTIAL.fullmatch(last) and not _OF_A_TOKENIZER.fullmatch(last)
    return bool(is_credential) or any(map(_SECRET.fullmatch, names))


def _leaves_of(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _leaves_of(inner)
    else:
        yield value


OMITTED = "OMITTED"
