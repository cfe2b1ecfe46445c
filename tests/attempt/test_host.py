"""Where a user's programs meet: a private directory, another one where somebody has taken it, the same for all."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainctl.attempt import host as place
from trainctl.attempt.host import host_dir
from trainctl.launch.slots.host_locks import HostLocks, Taken

OTHER_UID = 65534


@pytest.fixture
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The usual directory, which nobody has made yet; a home beside it."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(place, "HOST", tmp_path / "tmp")
    monkeypatch.setattr(place, "_below_home", lambda: tmp_path / "home" / ".cache" / "trainctl" / "here")
    return tmp_path / "tmp" / f"trainctl-{os.geteuid()}"


def take_away(first: Path, how: str) -> None:
    if how == "file":
        first.touch()
    elif how == "link":
        (first.parent / "mine").mkdir(mode=0o700)
        first.symlink_to(first.parent / "mine")
    else:
        first.mkdir(mode=0o700)
        if how == "open":
            first.chmod(0o777)
        else:
            os.chown(first, OTHER_UID, OTHER_UID)


HOWS = ["file", "link", "open", *(["foreign"] if os.geteuid() == 0 else [])]


def test_directory_is_made_private(first: Path) -> None:
    assert host_dir() == first
    assert first.stat().st_mode & 0o777 == 0o700
    assert host_dir() == first


@pytest.mark.parametrize("how", HOWS)
def test_another_place_is_used_and_said_where_somebody_has_taken_it(
    first: Path, tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    take_away(first, how)
    with caplog.at_level(logging.WARNING):
        found = host_dir(says_why=True)
    assert found == tmp_path / "home" / ".cache" / "trainctl" / "here"
    assert found.stat().st_mode & 0o777 == 0o700
    why = "is not a directory" if how in ("file", "link") else "belongs to, or is open to, somebody else"
    assert caplog.messages == [
        f"{first} {why}: all launchers of this user on this machine meet in {found} instead",
    ]
    first.rename(first.with_name("gone"))
    assert host_dir() == found  # those who come later meet those who are there


def test_neither_place_can_be_used(first: Path, tmp_path: Path) -> None:
    first.touch()
    (tmp_path / "home").touch()
    with pytest.raises(PermissionError, match=r"is not a directory, and .*/here cannot be made \(Not a directory\)"):
        host_dir()


def test_two_launchers_of_a_user_count_the_same_places_though_somebody_has_taken_the_directory(
    first: Path, tmp_path: Path
) -> None:
    take_away(first, HOWS[-1])
    program = (
        "import sys, pathlib; from trainctl.attempt import host as place; place.HOST = pathlib.Path(sys.argv[1]);"
        "place._below_home = lambda: pathlib.Path(sys.argv[2]);"
        "from trainctl.launch.slots.host_locks import HostLocks; held = HostLocks({'GPU-a': 1}).take(['GPU-a']);"
        "print(held.paths[0], flush=True); sys.stdin.read()"
    )
    second = tmp_path / "home" / ".cache" / "trainctl" / "here"
    command = [sys.executable, "-c", program, str(first.parent), str(second)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == f"{second}/GPU-a.1.0\n"
        ours = HostLocks({"GPU-a": 1})
        with pytest.raises(Taken, match=f"held by another launcher of yours \\(process {other.pid}\\)"):
            ours.take(["GPU-a"])
        other.communicate("")
    ours.take(["GPU-a"]).release()
