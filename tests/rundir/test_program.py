"""A program and its task function have one name, however they are started and wherever the project lies."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TASKS = """
import functools, json, os
import hydra
from trainctl.rundir.program import program_of

def plain(function):
    def inner(cfg): return function(cfg)
    return inner

def kept(function):
    @functools.wraps(function)
    def inner(cfg): return function(cfg)
    return inner

def main(cfg): pass

@hydra.main(version_base=None, config_path=None)
@kept
def decorated(cfg): pass

@plain
def hidden(cfg): pass

class Thing:
    def method(self, cfg): pass
    def __call__(self, cfg): pass
    @staticmethod
    def static(cfg): pass

def tell(*tasks):
    found = [program_of(task) for task in tasks]
    print(json.dumps([[each.name, each.function] for each in found]))

def every():
    tell(main, decorated, decorated.__wrapped__, kept(main), kept(main), hidden, lambda cfg: 1, Thing().method, Thing(),
         Thing.static, functools.partial(main))
"""

LOOP = """
import json
from trainctl.rundir.program import program_of

found = []
for number in range(2):
    def main(cfg): return number
    found.append((main, program_of(main).function))
print(json.dumps([name for _, name in found]))
"""


def told(*command: str, cwd: Path, code: int = 0) -> Any:
    path = os.pathsep.join(each for each in (str(cwd), os.environ.get("PYTHONPATH")) if each)
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    package = tmp_path / "project" / "pkg"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "tasks.py").write_text(TASKS)
    (package / "train.py").write_text(TASKS + "\nif __name__ == '__main__': tell(main)\n")
    (package / "every.py").write_text(TASKS + "\nif __name__ == '__main__': every()\n")
    (package / "far.py").write_text("from pkg.tasks import main, tell\ntell(main)\n")
    return package.parent


def test_only_functions_that_an_import_leads_to_have_a_name(project: Path) -> None:
    names = [function for _, function in told("pkg/every.py", cwd=project)]
    # two wrappers of one function are told apart by nothing but which came first
    assert names == ["main", "decorated", None, None, None, None, None, None, None, "Thing.static", None]


def test_program_has_one_name_however_it_is_started(project: Path) -> None:
    expected = [["pkg/train.py", "main"]]
    assert told("pkg/train.py", cwd=project) == expected
    assert told("-m", "pkg.train", cwd=project) == expected
    assert told("-c", "from pkg.train import main, tell; tell(main)", cwd=project) == expected
    (project / "link.py").symlink_to("pkg/train.py")
    assert told("link.py", cwd=project) == expected
    assert told("pkg/far.py", cwd=project) == [["pkg/far.py", "pkg.tasks:main"]]
    shutil.move(project, project.with_name("moved"))
    assert told("pkg/train.py", cwd=project.with_name("moved")) == expected


def test_script_of_a_repository_has_one_name_wherever_it_is_started(project: Path) -> None:
    (project / ".git").mkdir()
    (project / "below").mkdir()
    assert told("../pkg/train.py", cwd=project / "below") == [["pkg/train.py", "main"]]


def test_entry_point_is_known_by_the_module_it_calls(project: Path) -> None:
    command = Path(sys.executable).with_name(f"trainctl-test-{os.getpid()}")
    command.write_text("from pkg.train import main, tell\ntell(main)\n")
    try:
        assert told(str(command), cwd=project) == [["pkg/train.py", "main"]]
    finally:
        command.unlink()


def test_function_of_a_session_without_a_file_has_no_name(project: Path) -> None:
    code = "from pkg.tasks import tell\ndef main(cfg): pass\ntell(main)"
    assert told("-c", code, cwd=project) == [["", None]]


def test_function_that_is_defined_again_is_another_one(project: Path) -> None:
    (project / "loop.py").write_text(LOOP)
    assert told("loop.py", cwd=project) == ["main", None]
