"""Three ways to install, each into a fresh environment: Hydra must list our plugins and go on listing the others'."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGED = ("trainctl", "hydra_plugins")
BUILT_FROM = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
DEMO = ("train.py", "digits.py")


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, f"{command} ended {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def pip(environment: Path, *arguments: object, cwd: Path) -> None:
    python = environment / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", *arguments, cwd=cwd)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Copy what is packaged, so that nothing is built inside the checkout."""
    copy = tmp_path / "source"
    for name in PACKAGED:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in BUILT_FROM:
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """Make an environment that has the dependencies of this one, but not its hydra-trainctl.

    One .pth line puts this environment's site-packages behind the new one's own; .pth files in there, such as of an
    editable install, are not read.
    """
    place = tmp_path / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", place, cwd=tmp_path)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    pth = place / "lib" / version / "site-packages" / "dependencies.pth"
    pth.write_text(sysconfig.get_path("purelib") + "\n")
    return place


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """Copy the demo to where no package of ours lies beside it."""
    place = tmp_path / "demo"
    shutil.copytree(ROOT / "conf", place / "conf")
    for name in DEMO:
        shutil.copy(ROOT / name, place)
    return place


def build_wheel(environment: Path, source: Path) -> Path:
    pip(environment, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "dist", ".", cwd=source)
    (wheel,) = (source / "dist").glob("*.whl")
    return wheel


def install(way: str, environment: Path, source: Path) -> None:
    target = {"plain": ["."], "editable": ["-e", "."]}.get(way) or [build_wheel(environment, source)]
    pip(environment, "install", "-q", "--no-deps", "--no-build-isolation", "--ignore-installed", *target, cwd=source)
    if way != "editable":
        shutil.rmtree(source)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["plain", "editable", "wheel"])
def test_install_makes_hydra_list_all_launchers(way: str, environment: Path, source: Path, demo: Path) -> None:
    install(way, environment, source)
    python = environment / "bin" / "python"
    origin = run(python, "-c", "import trainctl.errors as m; print(m.__file__)", cwd=demo)
    assert Path(origin.strip()).is_relative_to(source if way == "editable" else environment)

    listed = run(python, "train.py", "--info", "plugins", cwd=demo)
    launchers = re.search(r"^\tLauncher:\n\t-+\n((?:\t\t\w+\n)+)", listed, re.MULTILINE)
    assert launchers, listed
    assert {"SlotLauncher", "JoblibLauncher", "BasicLauncher"} <= set(launchers[1].split())
    assert "usage" in run(environment / "bin" / "trainctl", "--help", cwd=demo).lower()


def test_wheel_holds_the_two_packages_and_nothing_else(environment: Path, source: Path) -> None:
    with zipfile.ZipFile(build_wheel(environment, source)) as archive:
        names = set(archive.namelist())
    installed = {name for name in names if ".dist-info/" not in name}
    expected = {
        str(path.relative_to(source)) for name in PACKAGED for path in (source / name).rglob("*") if path.is_file()
    }
    assert installed == expected
    assert "trainctl/py.typed" in installed
    assert "hydra_plugins/__init__.py" not in installed
    assert [name for name in names if name.endswith("/LICENSE")] != []


def test_sdist_holds_what_a_wheel_is_built_from_and_no_scattered_tests(source: Path) -> None:
    (source / "tests").mkdir()
    (source / "tests" / "test_one.py").touch()  # which setuptools takes by its name
    run(sys.executable, "setup.py", "-q", "sdist", cwd=source)
    (archive,) = (source / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as found:
        names = {name.partition("/")[2] for name in found.getnames()}
    assert {"setup.py", "pyproject.toml", "LICENSE", "trainctl/py.typed"} <= names
    assert [name for name in names if name.startswith("tests")] == []
