"""The data of a run that trackers get, from the files in its run dir, without secrets."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

from trainctl.config import changelog, yaml
from trainctl.config.changelog import Changelog
from trainctl.config.keys import leaves
from trainctl.config.masking import OMITTED, Masking, patterns_of
from trainctl.config.naming import job_name
from trainctl.config.overrides import override_key
from trainctl.rundir import files
from trainctl.rundir.edits import applied_edits
from trainctl.rundir.events import read_events
from trainctl.rundir.paths import RunDir, own_dir
from trainctl.rundir.status import read_status
from trainctl.rundir.summary import read_record
from trainctl.text import changed
from trainctl.track.tracker import Facts, ValueChange

__all__ = ["OMITTED", "Told", "page_url", "run_started"]

_UP = 3  # directories above a run dir in which its page may have its files


class Told:
    """A run's changelog as trackers may see it.

    Raises:
        ChangelogError: the changelog cannot be read. OSError: there is none.
    """

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self.log = changelog.loads(files.read_bytes(run.changelog, files.MOST_CHANGELOG), str(run.changelog))
        base = self.log.base
        self.masking = Masking(base, [*patterns_of(base), *patterns_of(base, "omit")], mask=OMITTED)
        self.masking.learn_edits(self.log)

    @property
    def omitted(self) -> list[str]:
        """The keys whose values are not sent."""
        found = leaves(self.log.base)
        return [key for key, value in found.items() if value is not None and self.masking.conceals(key, value)]

    @property
    def tells_metrics(self) -> bool | None:
        """Whether metrics are sent, by `trainctl.track_metrics`; None: only into runs that the task has not opened."""
        own = self.log.base.get("trainctl")
        said = str(own.get("track_metrics", "auto") if isinstance(own, dict) else "auto").lower()
        return {"true": True, "false": False}.get(said)

    def facts(self) -> Facts:
        """Return the facts sent at the start."""
        base = self.masking.nested(self.log.base)
        overrides = read_record(self.run, "overrides").get("overrides")
        given = [str(one) for one in overrides] if isinstance(overrides, list) else []
        name = self._name(given)
        return Facts(
            name=name,
            group=self.masking.text(self.run.path.parent.name),
            config=leaves(base),
            document=yaml.dumps(base),
            overrides=[self._override(one) for one in given],
            url=page_url(self.run) if name == self.run.name else None,
            argv_is_secret=any(self._override(one) != one for one in sys.argv[1:]),
        )

    def _name(self, overrides: list[str]) -> str:
        """Return the name of the run dir, which may have the values of overrides in it."""
        name = self.run.name
        for text in overrides:
            if self._override(text) != text and self.masking.hides(override_key(text)):
                part = job_name([text]).partition("_")[0]
                name = re.sub(rf"(?<![^-]){part}_.*?(?=-[A-Z]\w*_|-[0-9a-f]{{8}}\Z|\Z)", f"{part}_{OMITTED}", name)
        return self.masking.text(name)

    def _override(self, text: str) -> str:
        """Return an override; of a mapping or list only what is secret in it is left out."""
        from hydra.core.override_parser.overrides_parser import OverridesParser
        from hydra.errors import HydraException

        try:
            override = OverridesParser.create().parse_override(text)
            key, value = override.key_or_group, override.value()
        except HydraException:
            return self.masking.text(text)
        if isinstance(value, dict):
            shown: Any = self.masking.nested(value, f"{key}.")
        else:
            shown = self.masking.value(key, value)
        if shown == value or not isinstance(shown, dict | list | str):
            return self.masking.text(text)
        return f"{text.partition('=')[0]}={yaml.inline(shown)}"

    def changes(self) -> Iterator[ValueChange]:
        """Yield the edits in order, each key's first one after its value at step 0."""
        applied = applied_edits(self.log, read_events(self.run))
        moments = {one.step: one.t for one in applied if one.t is not None}
        started = run_started(self.run)
        start = leaves(self.log.base)
        known: dict[str, list[tuple[int, Any]]] = {}
        for edit in self.log.edits:
            values = self.masking.values(edit.values)
            first = {key: self.masking.value(key, start[key]) for key in values if key in start and key not in known}
            if first:
                yield ValueChange(0, started, first, None)
            for key, value in values.items():
                known.setdefault(key, [(0, first.get(key))]).append((edit.step, value))
            note = self.masking.text(edit.note) if edit.note else None
            said = {key: changed(known[key]) for key in values}
            yield ValueChange(edit.step, moments.get(edit.step, started), values, note, said)

    def text(self) -> str:
        """Return the changelog with secrets masked."""
        edits = [self.masking.edit(edit) for edit in self.log.edits]
        return changelog.dumps(Changelog(self.masking.nested(self.log.base), edits))


def run_started(run: RunDir) -> float:
    """Return when the current or last attempt began."""
    status = read_status(run)
    return status.started or 0.0 if status is not None else 0.0


def page_url(run: RunDir) -> str | None:
    """Return the URL of the run's page, without its token; None if there is no page."""
    for root in list(run.path.parents)[:_UP]:
        try:
            url = json.loads(files.read_bytes(own_dir(root) / "panel.json", files.MOST_SMALL))["url"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if not isinstance(url, str) or urlsplit(url).scheme not in ("http", "https"):
            continue
        return f"{url.partition('?')[0]}run/{quote(run.path.relative_to(root).as_posix(), safe='')}"
    return None
