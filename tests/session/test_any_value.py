"""Whatever kind a key is of and whatever is asked of it: training goes on, and the record is what was applied."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import re
import tempfile
import time
from enum import Enum
from pathlib import Path
from typing import Any, Optional, Union

import pytest
from drawn import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from session_fixtures import end_current_run

from trainctl.config import yaml
from trainctl.config.changelog import loads
from trainctl.config.keys import join
from trainctl.config.snapshot import snapshot
from trainctl.config.values import is_same
from trainctl.errors import EditError
from trainctl.rundir.events import answer
from trainctl.rundir.inbox import file_request, list_inbox
from trainctl.rundir.paths import RunDir
from trainctl.session.api import live
from trainctl.session.live import Live


class Act(Enum):
    RELU = 1
    GELU = 2


@dataclasses.dataclass
class Aug:
    p: float = 0.5
    kind: Act = Act.RELU
    sizes: list[int] = dataclasses.field(default_factory=lambda: [1])


@dataclasses.dataclass
class Strong(Aug):
    times: int = 2


@dataclasses.dataclass
class Deep:
    aug: Aug = dataclasses.field(default_factory=Strong)
    maybe: Optional[Aug] = dataclasses.field(default_factory=Aug)  # noqa: UP045
    named: dict[str, Aug] = dataclasses.field(default_factory=lambda: {"a": Strong()})
    free: Any = dataclasses.field(default_factory=lambda: {"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f": None})


@dataclasses.dataclass(frozen=True)
class Kind:
    """A type as a structured config declares it, values of it, and how a request writes them."""

    hint: Any
    values: st.SearchStrategy[Any]


TEXTS = st.sampled_from(["", "a", "1", "1e-4", "true", "null", "nan", "???", "${f0}", "é\u2028", "\x00", "RELU", "- x"])
SCALARS = [
    Kind(int, st.integers() | st.just(10**307)),
    Kind(float, st.floats(allow_nan=False, allow_infinity=False)),
    Kind(str, TEXTS.filter(lambda text: "${" not in text)),
    Kind(bool, st.booleans()),
    Kind(Path, st.sampled_from([Path("/a"), Path("b/c")])),
    Kind(bytes, st.binary(max_size=3)),
    Kind(Act, st.sampled_from(Act)),
]
AUG = (st.sampled_from([0.5, 0.25]), st.sampled_from(Act), st.lists(st.integers(0, 9), max_size=2))
AUGS = Kind(Aug, st.builds(Aug, *AUG) | st.builds(Strong, *AUG, st.integers()))
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from([0.5, "a", "1", "", b"\xff"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "x.y", "1"]), inner, max_size=3)
        | st.dictionaries(st.sampled_from([1, 30]), inner, max_size=2)
    ),
    max_leaves=6,
)
OTHERS = [
    Kind(Any, TREES),
    Kind(Any, TREES.filter(lambda tree: isinstance(tree, dict | list) and bool(tree))),
    Kind(
        Deep,
        st.builds(Deep, AUGS.values, st.none() | AUGS.values, st.dictionaries(st.just("a"), AUGS.values))
        | st.builds(Deep, free=TREES),
    ),
    Kind(Optional[Deep], st.none() | st.builds(Deep)),  # noqa: UP045
]
KEYS = [
    Kind(int, st.integers()), Kind(str, st.sampled_from(["a", "1", "a.b", "null"])), Kind(bool, st.booleans()),
    Kind(float, st.sampled_from([0.5, 1e300])), Kind(Act, st.sampled_from(Act)),
]  # fmt: skip


@st.composite
def kinds(draw: st.DrawFn) -> Kind:
    """Draw a scalar, a union or a dataclass, which may be null, up to two lists or mappings of it in each other, or a
    section or a tree without declared types.
    """
    if draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(OTHERS))
    kind, *others = draw(st.lists(st.sampled_from(SCALARS), min_size=1, max_size=2, unique_by=lambda each: each.hint))
    if draw(st.integers(0, 3)) == 0:
        kind, others = AUGS, []
    for other in others:
        kind = Kind(Union[kind.hint, other.hint], kind.values | other.values)  # noqa: UP007  # `|` makes another type
    if draw(st.booleans()):
        kind = Kind(Optional[kind.hint], st.none() | kind.values)  # noqa: UP045
    for key in draw(st.lists(st.none() | st.sampled_from(KEYS), max_size=2)):
        if key is None:
            kind = Kind(list[kind.hint], st.lists(kind.values, max_size=2))  # type: ignore[name-defined]
        else:
            mappings = st.dictionaries(key.values, kind.values, max_size=2)
            kind = Kind(dict[key.hint, kind.hint], mappings)  # type: ignore[name-defined]
    if draw(st.integers(0, 9)) == 0:
        kind = Kind(tuple[kind.hint, ...], st.lists(kind.values, max_size=2))  # type: ignore[name-defined]
    return kind


def plain(value: Any) -> Any:
    """Write a value as a request can."""
    if isinstance(value, dict):
        return {plain(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    return value.name if isinstance(value, Enum) else str(value) if isinstance(value, Path) else value


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.sampled_from([10**400, 10**1001]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(TEXTS | st.integers() | st.booleans(), inner, max_size=2)
    ),
    max_leaves=3,
)


def place(draw: st.DrawFn, key: str, default: Any, value: Any) -> tuple[str, Any]:
    """Draw a place in a value, as it is at the start, and what another value of its kind has there."""
    while isinstance(default, dict | list) and default and draw(st.integers(0, 2)):
        inner = draw(st.sampled_from(list(default) if isinstance(default, dict) else range(len(default))))
        default = default[inner]
        if isinstance(value, dict):
            value = value.get(inner)
        elif isinstance(value, list):
            value = value[inner] if isinstance(inner, int) and inner < len(value) else None
        key = f"{key}.{join([inner])}"
    return key, value


def deeper(key: str, value: Any) -> list[str]:
    """Return all places in a value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    below = [(f"{key}.{join([inner])}", one) for inner, one in inside]
    return [found for name, one in below for found in (name, *deeper(name, one))]


def inline(value: Any) -> Any:
    """Write a value as a command line does."""
    with contextlib.suppress(ValueError):  # too many digits
        return yaml.inline(value)
    return value


@st.composite
def cases(draw: st.DrawFn) -> tuple[type, list[dict[str, Any]]]:
    """Draw a structured config, and requests about its keys."""
    fields = draw(st.lists(kinds(), min_size=1, max_size=3))
    defaults = [draw(kind.values) for kind in fields]
    if draw(st.integers(0, 4)) == 0:  # ??? until an edit gives it a value, or a reference
        defaults[-1] = draw(st.sampled_from(["???", "${c.f0}"][: len(fields)]))
    cls = dataclasses.make_dataclass(
        "Conf",
        [
            (f"f{number}", kind.hint, dataclasses.field(default_factory=functools.partial(copy.copy, value)))
            for number, (kind, value) in enumerate(zip(fields, defaults, strict=True))
        ],
    )
    names = {
        f"f{number}": (plain(value), kind) for number, (value, kind) in enumerate(zip(defaults, fields, strict=True))
    }
    asked: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 6))):
        edits = {}
        for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
            name = draw(st.sampled_from(sorted(names)))
            default, kind = names[name]
            key, value = place(draw, name, default, plain(draw(kind.values)))
            if draw(st.integers(0, 3)) == 0:
                key = draw(st.sampled_from(["+{}", "++{}", "+{}.new", "++{}.1", "++new", "{}.9", "{}.p", "+{}.x.y"]))
                key = key.format(draw(st.sampled_from([name, *deeper(name, default)])))
            odd = draw(ANY) if draw(st.integers(0, 4)) == 0 else value
            edits[key] = draw(st.sampled_from([odd, odd, odd, None, inline(odd)]))
        by = {key: {"op": "*", "by": "1e300"} for key in edits}
        undo = draw(st.sampled_from([True, 1, 2, 3]))
        others: list[dict[str, Any]] = [{"edits": {}, "undo": undo}, {"edits": {}, "relative": by}]
        count = draw(st.sampled_from([1, 1, 2, 3]))
        asked.append({**draw(st.sampled_from([{"edits": edits}] * 4 + others)), "count": count})
    return cls, asked


def made(cls: type, **chosen: Any) -> DictConfig:
    config = OmegaConf.create({"c": OmegaConf.structured(cls), "trainctl": {"poll_s": 0.001, **chosen}})
    OmegaConf.set_struct(config, True)
    return config


def ask(session: Live, run: RunDir, *requests: dict[str, Any]) -> None:
    """File requests at once and train until all are answered."""
    names = [name for name in (filed(run, request) for request in requests) if name is not None]
    deadline = time.monotonic() + 60
    while any(answer(run, name) is None for name in names):
        assert time.monotonic() < deadline
        time.sleep(0.001)  # so that all are taken at one step, mostly
        session.step()


def filed(run: RunDir, request: dict[str, Any]) -> str | None:
    edits = {re.sub(r"^\+*", r"\g<0>c.", key): value for key, value in request["edits"].items()}
    relative = {f"c.{key}": change for key, change in request.get("relative", {}).items()}
    try:
        return file_request(run, edits, via="test", relative=relative, undo=request.get("undo"))
    except (EditError, ValueError):  # too long, or a number that cannot be written
        return None


def seen(config: DictConfig) -> str:
    return repr(OmegaConf.to_container(config.c, resolve=False))


@pytest.mark.slow
@settings(max_examples=examples(40, 5_000), suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(cases())
def test_whatever_is_asked_training_goes_on_and_the_record_is_what_was_applied(
    case: tuple[type, list[dict[str, Any]]],
) -> None:
    cls, asked = case[0], [*map(dict, case[1])]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        stack.callback(end_current_run)  # of one that fails too: the next example is to begin a run of its own
        run, again = RunDir.at(Path(folder) / "run"), RunDir.at(Path(folder) / "again")
        config = made(cls)
        session = live(config, run_dir=run.path)
        states = {}
        while asked:
            count = asked[0].pop("count", 1)
            ask(session, run, *asked[:count])
            asked = asked[count:]
            states[session.step_number] = seen(config)
            now = snapshot(config)
            recorded = loads(run.changelog.read_bytes()).at(session.step_number)
            assert is_same(recorded["c"], now["c"]), (recorded, now)
        end_current_run()
        assert list_inbox(run) == []
        for repeated, more in ((again, {"replay": str(run.path)}), (run, {})):
            config = made(cls, **more)
            session = live(config, run_dir=repeated.path)
            for step, state in states.items():
                while session.step_number < step:
                    session.step()
                assert seen(config) == state
            end_current_run()
        assert loads(again.changelog.read_bytes()).edits == loads(run.changelog.read_bytes()).edits
