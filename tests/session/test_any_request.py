"""Whatever lies in the inbox: it is answered once, training goes on, and what was applied can be replayed."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from drawn import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from session_fixtures import end_current_run

from trainctl.config import yaml
from trainctl.config.changelog import loads
from trainctl.rundir.events import read_events
from trainctl.rundir.inbox import list_inbox
from trainctl.rundir.paths import RunDir
from trainctl.session.api import live
from trainctl.session.live import Live

BASE: dict[Any, Any] = {
    "lr": 0.1, "optim": {"lr": 0.2, "ref": "${lr}"}, "n": 1, "b": True, "l": [1, {"a": 2}], "s": "x", "e": {}, "a.b": 3,
    7: 1, "any": None, "slow": 3, "baked": 1,
}  # fmt: skip
CONTROLS = {
    "slow": {"when": "epoch"}, "baked": {"when": "restart"}, "n": {"max_change": 3}, "any": {"type": "any"},
    "l": {"checkpoint_first": True},
}  # fmt: skip
KEYS = st.sampled_from(
    [*map(str, BASE), "optim.lr", "optim.ref", r"a\.b", "e.x", "gone", "", "trainctl.poll_s", "...", "é", "<<", "lr*"]
)
TEXTS = st.sampled_from([
    "1", "2", "1e-4", "nan", "true", "null", "[1, 2", "{a: 1}", "!!python/object:os.system x", "${lr}", "???", "*a",
    "&a b", "2026-01-01", "0x10", "-0.0", "9" * 400, "1e999", "~", "- x", "? a", "[" * 200, "{a: *b}", "|\n x", "1:30",
    ".inf", "{1: 2}", "{[1]: 2}", "{null: 1}", "{a: {b: [{c: null}]}}", "\x00", "'\\0'",
])  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(SCALARS, inner, max_size=2), max_leaves=4
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "edits": st.dictionaries(KEYS, VALUES, max_size=3) | VALUES,
    "relative": st.dictionaries(
        KEYS, st.fixed_dictionaries({"op": st.sampled_from("*/+-%"), "by": SCALARS}), max_size=2
    ),
    "undo": st.booleans() | st.integers(-1, 9) | SCALARS,
    "action": st.sampled_from(["checkpoint", "evaluate", "resume", "sample", "gone"]) | SCALARS,
    "arguments": st.dictionaries(st.sampled_from(["n", "m"]), SCALARS, max_size=2) | VALUES,
    "at": st.integers(-1, 20) | SCALARS,
    "force": st.booleans() | SCALARS,
    "who": VALUES,
    "note": VALUES,
}
ODD_MAPPINGS = st.dictionaries(st.none() | st.booleans() | st.integers(0, 2) | TEXTS, VALUES, min_size=1, max_size=2)
DOCUMENTS = st.one_of(
    st.dictionaries(st.sampled_from(["any", "e", "l"]), ODD_MAPPINGS | st.lists(ODD_MAPPINGS), min_size=1).map(
        yaml.dumps
    ),
    st.fixed_dictionaries({}, optional=FIELDS).map(yaml.dumps),
    st.dictionaries(KEYS, VALUES, max_size=3).map(yaml.dumps),
    st.lists(st.tuples(KEYS, TEXTS), min_size=1, max_size=3).map(
        lambda pairs: "\n".join(f"{yaml.inline(key)}: {text}" for key, text in pairs)
    ),
    TEXTS,
    st.text(max_size=60),
).map(lambda text: text.encode(errors="surrogatepass"))


def begin(run: RunDir, **more: str) -> Live:
    chosen = {"poll_s": 0.001, "controls": CONTROLS, **more}
    session = live(OmegaConf.create({**BASE, "trainctl": chosen}), run_dir=run.path)

    @session.action("sample")
    def sample(n: int, m: str = "x") -> None:
        if n > 5:
            raise ValueError(m)

    return session


def train(session: Live, until: int) -> list[str]:
    """Return what is in effect at each step, to the last bit and type."""
    seen = []
    while session.step_number < until:
        if session.step_number % 5 == 0:
            session.epoch()
        session.step()
        assert session.should_checkpoint in (True, False)
        values = OmegaConf.to_container(session.config)
        assert isinstance(values, dict)
        seen.append(repr({key: values[key] for key in BASE}))
    return seen


@pytest.mark.slow
@settings(max_examples=examples(25))
@given(st.lists(DOCUMENTS, min_size=3, max_size=12))
def test_whatever_is_asked_is_answered_once_and_what_was_applied_can_be_replayed(documents: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        stack.callback(end_current_run)  # of one that fails too: the next example is to begin a run of its own
        run, again = RunDir.at(Path(folder) / "run"), RunDir.at(Path(folder) / "again")
        session = begin(run)
        seen = []
        for number, document in enumerate(documents):
            name = f"20260101T000000.{number:06d}-{number:08x}"
            (run.inbox / f".{name}").write_bytes(document)
            (run.inbox / f".{name}").rename(run.inbox / f"{name}.yaml")
            deadline = time.monotonic() + 60
            while not any(event.id == name for event in read_events(run)):  # it is taken, or refused unread
                assert time.monotonic() < deadline
                time.sleep(0.0005)
            seen += train(session, session.step_number + 2)
        seen += train(session, session.step_number + 6)
        end_current_run()
        finals = Counter(event.id for event in read_events(run) if event.is_final)
        assert len(finals) == len(documents)
        assert set(finals.values()) == {1}
        assert list_inbox(run) == []
        assert train(begin(again, replay=str(run.path)), len(seen)) == seen
        end_current_run()
        assert loads(again.changelog.read_bytes()).edits == loads(run.changelog.read_bytes()).edits
