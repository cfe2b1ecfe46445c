from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainctl.rundir.provenance import git_facts, machine_facts, packages, program_argv, relative_to


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    git_facts.cache_clear()
    yield
    git_facts.cache_clear()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "train.py").write_text("lr = 0.1\n")
    git("add", "train.py")
    git("commit", "-qm", "first", "--no-verify")
    return tmp_path


def facts_of(path: Path) -> dict[str, object]:
    git_facts.cache_clear()
    facts = git_facts(str(path))
    assert facts is not None
    return facts


def test_directory_outside_a_repository_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_facts(str(tmp_path)) is None
    assert git_facts(str(tmp_path / "gone")) is None


def test_machine_without_git_has_no_commit(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository / "nothing"))
    assert git_facts(str(repository)) is None


def test_repository_without_a_commit_has_none(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert git_facts(str(tmp_path)) is None


def test_commit_is_named_and_differences_are_told_apart(repository: Path) -> None:
    clean = facts_of(repository)
    sha = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True)
    assert clean == {"sha": sha.stdout.strip(), "dirty": False}
    (repository / "untracked.txt").write_text("outputs are no difference of the code")
    assert facts_of(repository) == clean
    hashes = []
    for text in ("lr = 0.2\n", "lr = 0.3\n", "lr = 0.2\n"):
        (repository / "train.py").write_text(text)
        facts = facts_of(repository)
        assert (facts["sha"], facts["dirty"]) == (clean["sha"], True)
        hashes.append(facts["diff_sha256"])
    assert hashes[0] == hashes[2] != hashes[1]
    (repository / "below").mkdir()
    assert facts_of(repository / "below")["sha"] == clean["sha"]


def test_staged_changes_are_differences_too(repository: Path) -> None:
    (repository / "new.py").write_text("x = 1\n")
    subprocess.run(["git", "add", "new.py"], cwd=repository, check=True)
    assert facts_of(repository)["dirty"] is True


@pytest.mark.parametrize(
    ("argv", "overrides", "expected"),
    [
        (["train.py", "-m", "lr=1,2"], ["lr=1"], ["train.py", "lr=1"]),
        (["train.py", "--multirun", "lr=1,2", "hydra/launcher=slots"], ["lr=2"], ["train.py", "lr=2"]),
        (["train.py", "--config-name", "small", "-m"], [], ["train.py", "--config-name", "small"]),
        (["train.py", "--config-name=small", "-m"], [], ["train.py", "--config-name", "small"]),
        (["train.py", "-cn", "small", "-cp", "../c", "-cd", "d"], ["x=1"],
         ["train.py", "--config-name", "small", "--config-path", "../c", "--config-dir", "d", "x=1"]),
        (["train.py", "-m", "text='a b'"], ["text='a b'", "+x=1", "~y"], ["train.py", "text='a b'", "+x=1", "~y"]),
        (["train.py", "--config-name"], [], ["train.py", "--config-name", ""]),
    ],
)  # fmt: skip
def test_command_line_of_one_job_has_no_sweep_in_it(
    monkeypatch: pytest.MonkeyPatch, argv: list[str], overrides: list[str], expected: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    assert [*program_argv(), *overrides] == expected


def test_installed_packages_are_listed_sorted() -> None:
    found = packages()
    assert found["hydra-core"]
    assert list(found) == sorted(found, key=str.lower)


def test_facts_of_this_machine_are_complete(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "4")
    facts = machine_facts()
    assert list(facts) == [
        "format", "script", "module", "cwd", "git", "python", "executable", "host", "world_size", "packages",
    ]  # fmt: skip
    assert (facts["cwd"], facts["world_size"], facts["executable"]) == (str(tmp_path), 4, sys.executable)


@pytest.mark.parametrize(
    ("command", "expected"),
    [(["prog.py"], "{0}/prog.py None"), (["-m", "prog"], "{0}/prog.py prog"),
     (["-m", "pack"], "{0}/pack/__main__.py pack"), (["-c", "import prog"], "None None")],
)  # fmt: skip
def test_program_is_named_however_it_was_started(tmp_path: Path, command: list[str], expected: str) -> None:
    code = "from trainctl.rundir.provenance import module_name, script_path\nprint(script_path(), module_name())\n"
    (tmp_path / "prog.py").write_text(code)
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__main__.py").write_text(code)
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected.format(tmp_path)


def test_path_is_written_as_a_person_there_would(tmp_path: Path) -> None:
    assert relative_to(tmp_path / "a" / "b", tmp_path) == "a/b"
    assert relative_to(tmp_path, tmp_path / "a") == str(tmp_path)
