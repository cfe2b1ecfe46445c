"""What every test gets: the repository's root, the demo as a command, and an environment without settings of ours."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import drawn
import hydra
import hypothesis
import psutil
import pytest
from hydra.core.singleton import Singleton
from hydra.version import VersionBase
from sweep_app import app, wait_until_fixture
from task_app import task

__all__ = ["app", "task", "wait_until_fixture"]

hypothesis.settings.load_profile(drawn.FEW)  # at night `--hypothesis-profile=many`

# a shell that is no terminal's starts what it has in the background deaf to Ctrl-C, and so would be what tests start
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if not hydra.__version__.startswith("1.3."):  # programs that tests start write what they are warned of, as tests are
    os.environ["PYTHONWARNINGS"] = (
        "ignore:The version_base parameter is deprecated,ignore:hydra.utils.instantiate() resolved _target_"
    )

ROOT = Path(__file__).resolve().parent.parent
RunDemo = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with the most slow tests first: no worker begins a file of minutes when the others are done."""
    tests = Counter(item.path for item in items)
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: (-slow[item.path], -tests[item.path]))  # files alike stay in the order that was drawn


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide what the caller's shell says about ranks, devices and our own settings."""
    for name in list(os.environ):
        hides = name.endswith("_VISIBLE_DEVICES") or name == "ZE_AFFINITY_MASK"
        if hides or name in {"RANK", "SLURM_PROCID", "HYDRA_FULL_ERROR"} or name.startswith("TRAINCTL_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module", autouse=True)
def end_left_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """End the pages' servers that a module's tests have left: each would stay for minutes, with its memory."""
    yield
    ours = tmp_path_factory.getbasetemp()
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if words[1:3] == ["-m", "trainctl.panel"] and Path(words[3]).is_relative_to(ours):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture(autouse=True)
def hangups_are_heard() -> Iterator[None]:
    """Start programs that hear a hangup where nohup started the tests: what has a handler is not inherited ignored."""
    started_with = signal.getsignal(signal.SIGHUP)
    if started_with is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)
    yield
    signal.signal(signal.SIGHUP, started_with)


@pytest.fixture(autouse=True)
def unset_version_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each test with Hydra's version base as it is in a new process: one that composes leaves its own behind."""
    monkeypatch.setitem(Singleton._instances, VersionBase, type.__call__(VersionBase))


@pytest.fixture(autouse=True)
def unset_logging() -> Iterator[None]:
    """Leave the root logger as it was found: Hydra sets it up for its whole process."""
    handlers, level = list(logging.root.handlers), logging.root.level
    yield
    for handler in [each for each in logging.root.handlers if each not in handlers]:
        logging.root.removeHandler(handler)
    logging.root.setLevel(level)


@pytest.fixture
def root() -> Path:
    return ROOT


@pytest.fixture
def run_demo(tmp_path: Path) -> RunDemo:
    """Run the demo in `tmp_path`, without a page; arguments are overrides."""

    def run(*overrides: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "train.py"), *overrides, "trainctl.panel.enabled=false"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert not check or done.returncode == 0, f"{command} ended {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run
