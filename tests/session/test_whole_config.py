"""Items of lists, whole sections and new entries: edited as the same override before a run would set them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Optional

import pytest
from omegaconf import DictConfig, OmegaConf, open_dict
from session_fixtures import Answered, EndRun, OpenLive

from trainctl.config.changelog import loads
from trainctl.config.snapshot import snapshot
from trainctl.config.values import is_same
from trainctl.rundir import files
from trainctl.rundir.events import Event
from trainctl.rundir.inbox import file_request
from trainctl.rundir.paths import RunDir
from trainctl.session.api import live
from trainctl.session.live import Live

Ask = Callable[..., Event]
DATASETS = [{"name": "a", "fraction": 0.2, "lr": "${clip}"}, {"name": "b", "fraction": 0.3}]


class Act(Enum):
    RELU = "relu"
    GELU = 2


@dataclass
class Aug:
    p: float = 0.5
    kind: Act = Act.RELU


@dataclass
class Strong(Aug):
    times: int = 2


@dataclass
class Conf:
    clip: float | None = 1.0
    untyped: Any = 1.0
    text: Any = "60h"
    root: Path = Path("/data")
    blob: bytes = b"ab"
    devices: int | str = 1
    augs: list[Aug] = field(default_factory=lambda: [Strong(p=0.1), Aug()])
    named: dict[str, Aug] = field(default_factory=lambda: {"a": Aug()})
    by_epoch: dict[int, float] = field(default_factory=lambda: {0: 0.1, 30: 0.01})
    by_act: dict[Act, float] = field(default_factory=lambda: {Act.RELU: 0.1})
    sizes: tuple[int, int] = (1, 2)
    nested: list[list[int]] = field(default_factory=lambda: [[1], [2, 3]])
    aug: Aug = field(default_factory=Aug)
    maybe: Optional[Aug] = None  # noqa: UP045
    some: Optional[Aug] = field(default_factory=Aug)  # noqa: UP045
    strong: Optional[Aug] = field(default_factory=Strong)  # noqa: UP045
    strongs: list[Optional[Aug]] = field(default_factory=lambda: [Strong(times=3), None])  # noqa: UP045
    strong_by: dict[str, Optional[Aug]] = field(default_factory=lambda: {"a": Strong(times=4)})  # noqa: UP045
    augs_or_none: list[Aug] | None = None
    free: Any = field(
        default_factory=lambda: {
            "datasets": DATASETS,
            "milestones": {10: 0.1, 20: 0.01},
            "opt": {"name": "adam", "lr": 1e-3},
            "empty": {},
        }
    )


def made(**settings: Any) -> DictConfig:
    config: DictConfig = OmegaConf.structured(Conf)
    with open_dict(config):
        config.trainctl = {"poll_s": 0.005, **settings}
    OmegaConf.set_struct(config, True)
    return config


@pytest.fixture
def session(open_live: OpenLive) -> Live:
    return open_live(made())


@pytest.fixture
def ask(session: Live, run: RunDir, answered: Answered) -> Ask:
    def asked(edits: dict[str, Any] | None = None, **more: Any) -> Event:
        return answered(session, file_request(run, edits or {}, via="test", **more))

    return asked


def seen(config: DictConfig) -> Any:
    return {key: value for key, value in snapshot(config).items() if key != "trainctl"}


CASES: list[tuple[str, str, Any]] = [
    ("free.datasets.0.fraction", "0.5", [{**DATASETS[0], "fraction": 0.5}, DATASETS[1]]),
    ("free.datasets.1", "{fraction: 1}", None),
    ("augs.1.p", "0.3", [{"p": 0.1, "kind": "RELU", "times": 2}, {"p": 0.3, "kind": "RELU"}]),
    ("augs.0.times", "5", [{"p": 0.1, "kind": "RELU", "times": 5}, {"p": 0.5, "kind": "RELU"}]),
    ("augs", "[{p: 0.3, kind: GELU, times: 3}]", [{"p": 0.3, "kind": "GELU", "times": 3}]),
    ("augs_or_none", "[{p: 1}]", [{"p": 1.0, "kind": "RELU"}]),
    ("nested.1.0", "7", [[1], [7, 3]]),
    ("sizes.0", "7", [7, 2]),
    ("sizes", "[3, 4]", [3, 4]),
    ("named.a.kind", "GELU", None),
    ("+named.b", "{p: 0.25}", None),
    ("by_epoch.30", "0.5", None),
    ("+by_epoch.60", "0.5", None),
    ("+free.milestones.30", "0.5", None),
    ("free.milestones", "{10: 0.5}", None),
    ("free.opt", "{name: sgd, lr: 0.1}", None),
    ("+free.opt.momentum", "0.9", None),
    ("+free.opt", "{momentum: 0.9, lr: 0.1}", None),
    ("++free.opt.lr", "0.1", None),
    ("+free.deep", "{a: {b: [1]}}", None),
    ("+free.deep.a.b", "[1]", None),
    ("+new", "1", None),
    ("free.empty", "{a: 1}", {"a": 1}),
    ("by_act.RELU", "0.5", None),
    ("+by_act.GELU", "0.5", None),
    ("aug", "{p: 0.7}", None),
    ("maybe", "{p: 0.1}", {"p": 0.1, "kind": "RELU"}),
    ("some", "null", None),
    ("strong", "null", None),
    ("strongs.0", "null", None),
    ("strong_by.a", "null", None),
    ("strong_by", "{a: {p: 1}}", None),
    ("untyped", "null", None),
    ("text", "null", None),
    ("free.opt.lr", "null", None),
    ("clip", "null", None),
    ("devices", "auto", "auto"),
    ("blob", "cd", b"cd"),
    ("blob", "!!binary AP8=", b"\0\xff"),
    ("root", "/x", "/x"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("key", "value", "expected"), CASES, ids=[f"{key}={value}" for key, value, _ in CASES])
def test_any_place_is_edited_recorded_undone_and_replayed(
    session: Live, ask: Ask, run: RunDir, end_run: EndRun, key: str, value: str, expected: Any
) -> None:
    first = seen(session.config)
    answer = ask({key: value})
    assert answer.state == "applied", answer.reason
    step, after = session.step_number, seen(session.config)
    assert after != first
    if expected is not None:
        (unit,) = answer.edits or ()
        assert loads(run.changelog.read_bytes()).edits[0].values == {unit: expected}
    assert is_same(seen_in(run, step), after)
    assert ask(undo=True).state == "applied"
    assert is_same(seen(session.config), first)
    assert is_same(seen_in(run, session.step_number), first)
    assert [type(OmegaConf.to_object(each)) for each in strong_ones(session.config)] == [Strong] * 3
    assert ask(undo=2).state == "applied"
    last = session.step_number
    assert is_same(seen(session.config), after)
    end_run()
    again = live(made(replay=str(run.path)), run_dir=run.path.with_name("again"))
    while again.step_number < last:
        if again.step_number == step:
            assert is_same(seen(again.config), after)
        again.step()
    assert is_same(seen(again.config), after)
    assert type(OmegaConf.to_object(again.config.aug)) is Aug


def strong_ones(config: DictConfig) -> list[Any]:
    return [config.strong, config.strongs[0], config.strong_by.a]


def seen_in(run: RunDir, step: int) -> Any:
    found = loads(run.changelog.read_bytes()).at(step)
    return {key: value for key, value in found.items() if key != "trainctl"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("augs.1.p", 0.3), ("augs.0.times", 5), ("augs", [{"p": 0.3, "kind": "GELU"}]), ("aug", {"p": 0.7}),
        ("nested.1.0", 7), ("free.datasets.0.fraction", 0.5), ("free.datasets.1", {"fraction": 1.0}),
        ("free.opt", {"name": "sgd", "lr": 0.1}), ("some", None), ("sizes", [3, 4]), ("augs_or_none", [{"p": 1}]),
        ("+free.opt.momentum", 0.9), ("+free.opt", {"momentum": 0.9}), ("+free.deep.a.b", [1]), ("untyped", None),
        ("named.a.kind", "GELU"), ("devices", "auto"),
    ],
)  # fmt: skip
def test_edit_gives_what_the_same_override_before_a_run_gives(session: Live, ask: Ask, key: str, value: Any) -> None:
    before = made()
    OmegaConf.update(before, key.lstrip("+"), value, force_add=key.startswith("+"))
    assert ask({key: value}).state == "applied"
    assert is_same(seen(session.config), seen(before))


@pytest.mark.parametrize(
    ("edits", "reason"),
    [
        (
            {"free.opt.momentum": "1"},
            r"there is no such key.*; a new entry is written with a plus: \+free\.opt\.momentum",
        ),
        ({"free.opt": "{momentum: 1}"}, r"^free\.opt\.momentum=1: there is no such key"),
        ({"+free.opt.lr": "1"}, r"^\+free\.opt\.lr=1: the key is there already; leave out the \+"),
        ({"free.datasets.2.fraction": "1"}, "there is no such key"),
        ({"+free.datasets.2": "1"}, "there is no such key"),
        ({"augs.1.q": "1"}, "there is no such key"),
        ({"augs": "[{}, {q: 1}]"}, "^augs: Aug has no 'q'; it has p, kind; nothing was changed"),
        ({"augs.1.p": "x"}, r"^augs\.1\.p=x: the key takes a number"),
        ({"+by_epoch.x": "1"}, "by_epoch.x: .*incompatible"),
        ({"+by_epoch.60": "x"}, "the key takes a number"),
        ({"aug": "null"}, "^aug=None: .*cannot be null"),
        ({"free.opt": "3"}, "a mapping"),
        ({"free.datasets.0.name": "${clip}"}, "interpolations"),
        ({"free.datasets": [{"name": "${root}"}]}, "interpolations"),
        ({"free.opt": "{lr: 0.1}", "free.opt.lr": "0.2"}, "given twice"),
        ({"+trainctl.poll_s2": "1"}, "settings of trainctl are fixed"),
        ({"+hydra.x": "1"}, "no such key"),
    ],
)
def test_what_is_not_there_or_does_not_fit_is_refused(
    session: Live, ask: Ask, edits: dict[str, Any], reason: str
) -> None:
    first = seen(session.config)
    answer = ask(edits)
    assert answer.state == "rejected"
    assert (answer.reason or "").isprintable()
    assert re.search(reason, answer.reason or ""), answer.reason
    assert is_same(seen(session.config), first)


def test_who_holds_a_section_or_a_list_sees_its_items_change(session: Live, ask: Ask) -> None:
    opt, datasets = session.config.free.opt, session.config.free.datasets
    ask({"free.opt": "{lr: 0.5}", "+free.opt.momentum": "0.9", "free.datasets.0.fraction": "0.9"})
    assert (opt.lr, opt.momentum, datasets[0].fraction) == (0.5, 0.9, 0.9)
    assert session.now.free.opt.momentum == 0.9


def test_added_entry_is_a_key_of_the_run_for_the_page(session: Live, ask: Ask, run: RunDir) -> None:
    ask({"+free.opt.momentum": "0.9", "+free.more": "[1]"})
    keys = files.read_mapping(run.run)["keys"]
    assert keys["free.opt.momentum"]["type"] == "float"
    assert keys["free.more"]["type"] == "list"
    assert "free.opt.lr" in keys
    ask(undo=True)
    assert files.read_mapping(run.run)["keys"].keys() == keys.keys() - {"free.opt.momentum", "free.more"}


def test_null_section_takes_a_mapping_again_and_each_edit_is_undone(session: Live, ask: Ask, run: RunDir) -> None:
    first = seen(session.config)
    ask({"some.p": "0.25"})
    ask({"some": None})
    assert ask({"some.p": "0.5"}).state == "rejected"
    assert ask({"some": {"p": 0.75}}).state == "applied"
    assert seen(session.config)["some"] == {"p": 0.75, "kind": "RELU"}
    assert is_same(seen_in(run, session.step_number), seen(session.config))
    for _ in range(3):
        assert ask(undo=True).state == "applied"
    assert is_same(seen(session.config), first)


def test_controls_hold_in_lists_sections_and_for_new_entries(
    open_live: OpenLive, run: RunDir, answered: Answered
) -> None:
    controls = {
        "free.datasets.*.name": "!",
        "free.datasets.*.fraction": {"max": 1, "max_change": 2},
        "augs": {"locked": "built at the start"},
        "augs.*.p": {"min": 0},
        "free.opt.*": "!",
        "nested.0": "!",
    }
    session = open_live(made(controls=controls))

    def refused(**edits: Any) -> str:
        named = {key.replace("__", "."): value for key, value in edits.items()}
        return answered(session, file_request(run, named, via="test")).reason or ""

    assert "free.datasets.0.name=x: the key is locked" in refused(free__datasets__0__name="x")
    assert "the maximum is 1" in refused(free__datasets__0__fraction="2")
    assert "by a factor of 2 at most" in refused(free__datasets__0__fraction="0.9")
    whole = [{"name": "a", "fraction": 0.25, "lr": 1.0}]
    assert "free.datasets.1.name=None: the key is locked" in refused(free__datasets=whole)
    assert "the maximum is" in refused(free__datasets=[*whole, {"name": "b", "fraction": 3}])
    assert refused(free__datasets=[*whole, {"name": "b", "fraction": 0.3}]) == ""
    assert "locked (built at the start)" in refused(augs__0__kind="GELU")
    assert refused(augs__0__p="0.75") == ""
    assert "locked" in refused(**{"+free__opt__momentum": "1"})
    assert "nested.0.0" in refused(nested="[[5], [2, 3]]")
    assert refused(nested="[[1], [4]]") == ""


def test_lock_of_a_section_keeps_it_from_becoming_null(open_live: OpenLive, run: RunDir, answered: Answered) -> None:
    session = open_live(made(controls={"some.p": "!"}))
    answer = answered(session, file_request(run, {"some": "null"}, via="test"))
    assert "some.p=None: the key is locked" in (answer.reason or "")


def test_what_is_not_editable_is_so_in_lists_and_for_new_entries(
    open_live: OpenLive, run: RunDir, answered: Answered
) -> None:
    session = open_live(made(editable=False))
    for key in ("some", "free.datasets.0.fraction", "+free.x"):
        answer = answered(session, file_request(run, {key: "null"}, via="test"))
        assert "trainctl.editable is false" in (answer.reason or "")


def test_hand_written_schedule_adds_no_misspelt_key(open_live: OpenLive, tmp_path: Path) -> None:
    schedule = tmp_path / "schedule.yaml"
    schedule.write_text("0: {lr: 0.1}\n2: {rl: 0.2}\n")
    session = open_live(OmegaConf.create({"lr": 0.1, "trainctl": {"replay": str(schedule)}}))
    session.step()
    with pytest.raises(Exception, match=r"rl=0\.2: there is no such key"):
        session.step()
