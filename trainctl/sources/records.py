"""The record that trainctl itself has stored with a run on a server."""

from __future__ import annotations

from collections.abc import Mapping

from trainctl.config import changelog
from trainctl.config.loaded import Loaded
from trainctl.errors import ChangelogError, SourceError
from trainctl.sources.files import parse_yaml

CONFIG = "trainctl/config.yaml"
CHANGELOG = "trainctl/changelog.yaml"
FILES = (CHANGELOG, CONFIG)


def read_record(source: str, origin: str, texts: Mapping[str, str]) -> Loaded | None:
    """Return the config with all types: after the last edit that is recorded there, else as it was at the start.

    Args:
        source: as it was asked for.
        origin: what that was found to be.
        texts: of the files that are there, by name; None is returned for none.

    Raises:
        SourceError: a file is not what it should be.
    """
    if CHANGELOG in texts:
        try:
            log = changelog.loads(texts[CHANGELOG], f"+from={source}: {CHANGELOG}")
        except ChangelogError as error:
            raise SourceError(str(error)) from error
        return Loaded(source, origin, log.at(log.last_step), is_record=True)
    if CONFIG in texts:
        values = parse_yaml(texts[CONFIG], f"+from={source}: {CONFIG}", aliases=False)
        return Loaded(source, origin, values, is_record=True)
    return None
