"""Keys that nothing is bound to are locked while a trainer of a framework trains with what was built before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from session_fixtures import EndRun

pytest.importorskip("lightning", reason="Lightning is not installed")
pytest.importorskip("transformers", reason="Transformers is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs

from test_lightning import Line, data  # noqa: E402
from test_lightning import trainer as lightning_trainer  # noqa: E402
from test_transformers import trainer as transformers_trainer  # noqa: E402

from trainctl.frameworks.transformers import TrainctlTrainerCallback  # noqa: E402
from trainctl.rundir.events import answer  # noqa: E402
from trainctl.rundir.inbox import file_request  # noqa: E402
from trainctl.rundir.paths import RunDir  # noqa: E402
from trainctl.rundir.summary import read_record  # noqa: E402
from trainctl.session.api import live  # noqa: E402
from trainctl.session.live import Live  # noqa: E402


def lightning(session: Live, path: Path) -> None:
    lightning_trainer(path, enable_checkpointing=False).fit(Line(session.config), data())


def transformers(session: Live, path: Path) -> None:
    transformers_trainer(path, TrainctlTrainerCallback(lr="lr"), max_steps=6).train()


TRAINERS = {"Lightning": lightning, "the Trainer": transformers}


@pytest.fixture
def opened(run: RunDir, end_run: EndRun) -> Live:
    run.create()
    entries = {"lr": 0.1, "base": "${lr}", "data": {"batch_size": 8, "crop": 0.5}, "clip": 1.0}
    return live(OmegaConf.create({**entries, "trainctl": {"controls": {"clip": {"min": 0}}}}), run_dir=run.path)


@pytest.mark.parametrize("name", TRAINERS)
def test_a_key_that_nothing_is_bound_to_is_locked_with_the_way_to_open_it(
    run: RunDir, opened: Live, tmp_path: Path, end_run: EndRun, name: str
) -> None:
    edits = {"unbound": {"data.batch_size": "4"}, "bound": {"lr": "0.2"}, "named": {"clip": "2"}}
    asked = {what: file_request(run, values, via="test", at=3) for what, values in edits.items()}
    opened._files.pump.look()  # type: ignore[union-attr]  # so that the first step knows of them
    TRAINERS[name](opened, tmp_path)
    states = {what: answer(run, request) for what, request in asked.items()}
    assert {what: event.state for what, event in states.items() if event} == {
        "unbound": "rejected", "bound": "applied", "named": "applied"
    }  # fmt: skip
    assert states["unbound"].reason == (  # type: ignore[union-attr]
        f"data.batch_size=4: the key is locked (nothing follows it while {name} trains: bind it with live.bind(…), or "
        "open it with trainctl.controls: {data.batch_size: {}}); nothing was changed"
    )
    end_run()
    assert states["bound"].step == 3  # type: ignore[union-attr]
    assert answer(run, asked["bound"]).read == {"lr": 3}  # type: ignore[union-attr]


@pytest.mark.parametrize("name", TRAINERS)
def test_page_and_command_line_see_the_locks_while_it_trains(
    run: RunDir, opened: Live, tmp_path: Path, name: str
) -> None:
    seen: list[set[str]] = []
    opened.add_binding(lambda now: seen.append(locked(run)))  # which takes nothing
    request = file_request(run, {"lr": "0.2"}, via="test", at=3)
    opened._files.pump.look()  # type: ignore[union-attr]
    TRAINERS[name](opened, tmp_path)
    assert answer(run, request).state == "applied"  # type: ignore[union-attr]
    assert seen[0] == set()
    assert seen[-1] >= {"data.batch_size", "data.crop"}
    assert not seen[-1] & {"lr", "clip"}
    assert locked(run) == set()


def test_what_is_bound_later_and_what_it_refers_to_is_opened_and_a_hook_opens_all(run: RunDir, opened: Live) -> None:
    opened.lock_unbound("it")
    assert locked(run) == {"lr", "base", "data.batch_size", "data.crop"}
    opened.add_binding(lambda now: now.base)
    assert locked(run) == {"data.batch_size", "data.crop"}
    hook: Callable[[Any], object] = opened.on_edit(lambda edit: None)
    assert hook is not None
    assert locked(run) == set()


def locked(run: RunDir) -> set[str]:
    """Return which keys of the task run.yaml says are locked."""
    keys: dict[str, dict[str, Any]] = read_record(run, "keys")["keys"]
    return {name for name, key in keys.items() if "locked" in key and not name.startswith("trainctl.")}
