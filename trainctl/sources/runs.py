"""The config of an earlier run: any run of a Hydra app, and at any step if trainctl recorded it."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import Any

from trainctl.config.changelog import Changelog
from trainctl.config.keys import find, leaves, split
from trainctl.config.loaded import GROUP, UNKNOWN_GROUP, Loaded
from trainctl.config.values import has_interpolation, is_same
from trainctl.errors import ChangelogError, RunDirError, SourceError
from trainctl.rundir.edits import read_file
from trainctl.rundir.paths import RunDir
from trainctl.rundir.provenance import original_cwd
from trainctl.rundir.status import read_status
from trainctl.rundir.trust import check_trust
from trainctl.sources.files import announce, parse_yaml, read_text

_AT = re.compile(r"(?P<run>.+)@(?P<step>[0-9]{1,18})", re.DOTALL)
_LATEST = "latest"
_DEPTH = 4
_WILD = re.compile(r"[*?[]")


def read_run(source: str, place: str) -> Loaded:
    """Read the final config of a run, or with `@STEP` its config at that step, and which options it had chosen.

    Interpolations are as the run had them, but for keys that were edited.

    Raises:
        SourceError: there is no such run, it is another user's, of a later format, or without a config (at that step).
    """
    run, step = _find(source, place)
    try:
        check_trust(run)
    except RunDirError as error:
        raise SourceError(f"+from={source}: {error}") from None
    changelog = _changelog(run, source)
    is_composed = os.path.lexists(run.config)
    composed = parse_yaml(read_text(run.config, source), f"+from={source}") if is_composed else {}
    composed.pop("hydra", None)
    if changelog is None and (step is not None or not is_composed):
        wanted = "a changelog.yaml, without which nothing is known of its steps" if step is not None else "a config"
        raise SourceError(f"+from={source}: {str(run.path)!r} does not have {wanted}")
    values = composed
    if changelog is not None:
        values = changelog.at(changelog.last_step if step is None else step)
        _put_interpolations_back(values, changelog.base, composed)
    origin = str(run.path) if step is None else f"{run.path}@{step}"
    return Loaded(source, origin, values, is_own=True, choices=_choices(run))


def _changelog(run: RunDir, source: str) -> Changelog | None:
    if not os.path.lexists(run.changelog):
        return None
    try:
        return read_file(run.changelog, f"+from={source}")
    except ChangelogError as error:
        raise SourceError(str(error)) from error


def _put_interpolations_back(values: dict[Any, Any], base: dict[Any, Any], composed: dict[Any, Any]) -> None:
    """Have `${now:…}`, `${hydra:…}` and the like again where the record has their values, unless they were edited.

    The output dir of that run is not where this one shall write.
    """
    recorded, final = leaves(base), leaves(values)
    for key, text in leaves(composed).items():
        if has_interpolation(text) and key in final and key in recorded and is_same(final[key], recorded[key]):
            *above, last = split(key)
            place = values
            for part in above:
                place = place[find(place, part)]
            place[find(place, last)] = text


def _choices(run: RunDir) -> dict[str, str | None]:
    """Return the option that the run had of each group, without Hydra's and trainctl's; empty if it is not recorded."""
    try:
        content = parse_yaml(read_text(run.config.parent / "hydra.yaml", ""), "")
        choices = content["hydra"]["runtime"]["choices"]
        given = content["hydra"].get("overrides", {}).get("task", ())
        taken_away = {text[1:].partition("=")[0]: None for text in given if text.startswith("~")}
        return {
            str(group): option
            for group, option in {**choices, **taken_away}.items()
            if option is None or isinstance(option, str)
            if str(group).partition("/")[0] not in ("hydra", GROUP, UNKNOWN_GROUP)
        }
    except (SourceError, KeyError, TypeError, AttributeError):
        return {}  # whatever that file holds: the values are enough


def _find(source: str, place: str) -> tuple[RunDir, int | None]:
    """Return the run that a place names, and the step.

    Raises:
        SourceError: it names none.
    """
    match = _AT.fullmatch(place)
    if match is None or _is_run(_path(place)):  # a run dir may have such a name
        return _locate(source, place), None
    return _locate(source, match["run"]), int(match["step"])


def _path(text: str) -> Path:
    return Path(os.path.abspath(original_cwd() / Path(text).expanduser()))


def _locate(source: str, text: str) -> RunDir:
    path = _path(text)
    if _is_run(path):
        return RunDir.at(path)
    if path.name == _LATEST and not path.exists():
        found = _runs_below(path.parent, _DEPTH)
    elif _WILD.search(text):
        found = [RunDir.at(each) for each in glob.glob(str(path)) if _is_run(Path(each))]
    else:
        raise SourceError(f"+from={source}: {_why_none(path)}")
    if not found:
        raise SourceError(f"+from={source}: no run matches {str(path)!r}")
    newest = max(found, key=lambda run: (_started(run), str(run.path)))
    more = f", the newest of {len(found)}" if len(found) > 1 else ""
    announce(f"+from={source} is {newest.path}{more}")
    return newest


def _why_none(path: Path) -> str:
    if not path.exists():
        return f"there is no run dir {str(path)!r}"
    below = _runs_below(path, _DEPTH) if path.is_dir() else []
    names = ", ".join(str(run.path.relative_to(path)) for run in below[:10])
    return f"{str(path)!r} is not a run dir; " + (f"it holds {names}" if names else "nor is there one below it")


def _is_run(path: Path) -> bool:
    run = RunDir.at(path)
    return os.path.lexists(run.changelog) or os.path.lexists(run.config)


def _runs_below(path: Path, depth: int) -> list[RunDir]:
    """List the run dirs below a directory, those of Hydra apps without trainctl too."""
    found: list[RunDir] = []
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    except OSError:
        return []
    for entry in entries:
        if entry.name.startswith(".") or not entry.is_dir(follow_symlinks=False):
            continue
        if _is_run(Path(entry.path)):
            found.append(RunDir.at(entry.path))
        elif depth > 1:
            found += _runs_below(Path(entry.path), depth - 1)
    return found


def _started(run: RunDir) -> float:
    status = read_status(run)
    if status is not None and status.started is not None:
        return status.started
    record = run.config if os.path.lexists(run.config) else run.changelog
    return record.lstat().st_mtime
