"""Each parser of outside input answers nearly right input with a value or an error of ours, and soon.

`make fuzz` tries 100,000 cases and more from a new seed, which it prints. One parser again, from a seed:
`TRAINCTL_FUZZ_SEED=seed TRAINCTL_FUZZ_CASES=number pytest tests/fuzz -k name`.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mutations import MOST_BYTES, mutated

from trainctl.cli.app import app
from trainctl.commands.template import pieces
from trainctl.commands.template import words_of as words_of_value
from trainctl.config.changelog import Changelog, Edit, dumps, loads
from trainctl.config.controls import Key
from trainctl.config.edit import parse_edits
from trainctl.config.editor_sheet import changes
from trainctl.config.editor_sheet import write as write_sheet
from trainctl.config.naming import job_name
from trainctl.config.relative import take_apart
from trainctl.errors import CommandError, EditError, SettingError, TrainctlError
from trainctl.examine.row import read_row
from trainctl.examine.where import terms_of
from trainctl.importers import mlrunner, trainconfig
from trainctl.launch.remote.wire import Address
from trainctl.launch.slots.devices import Visible
from trainctl.launch.slots.gpu import Gpu
from trainctl.launch.slots.slot import make_slots
from trainctl.panel.auth.access import Access, HttpRequest
from trainctl.panel.auth.password import parse_basic
from trainctl.panel.data.run_view import RunRow, read_view
from trainctl.panel.pages import session
from trainctl.rundir import files
from trainctl.rundir.events import read_events
from trainctl.rundir.metrics import read_metrics
from trainctl.rundir.paths import RunDir
from trainctl.rundir.request import read_request
from trainctl.rundir.result import read_result
from trainctl.rundir.status import Status, read_status, write_status
from trainctl.rundir.summary import summarize
from trainctl.sources.files import read_file
from trainctl.track.cursor import Cursor

SEED = int(os.environ.get("TRAINCTL_FUZZ_SEED", "1"))
CASES = int(os.environ.get("TRAINCTL_FUZZ_CASES", "150"))  # of each parser
SLOWEST_S = 1.0  # of processor

KEYS = {
    "lr": Key("float", min=0.0, max=10.0),
    "steps": Key("int"),
    "norm": Key("str", choices=["new", "batch"]),
    "on": Key("bool"),
    "betas": Key("list"),
    "opt.name": Key("str", optional=True),
    "any": Key("any"),
}
CHANGELOG = dumps(
    Changelog(
        {"lr": 0.1, "betas": [0.9, 0.99], "opt": {"name": "sgd"}, "note": None},
        [Edit(3, {"lr": 0.05}, who="ada", via="cli", note="slower"), Edit(7, {"opt.name": "adam", "betas": [0.8]})],
    )
).encode()
METRICS = b'{"step": 1, "t": 1.5, "loss": 0.5}\n{"step": 2, "t": 2.5, "loss": NaN, "lr": 1e-3}\n'
EVENTS = (
    b'{"id": "a", "state": "applied", "step": 3, "edits": {"lr": 0.05}, "who": "ada", "via": "cli", "t": 1.0}\n'
    b'{"id": "b", "state": "rejected", "edits": {"lr": "x"}, "reason": "not a number", "t": 2.0}\n'
)
REQUESTS = (
    b"edits: {lr: 0.01, norm: batch}\nwho: ada\nvia: cli\nnote: faster\n",
    b"lr: 0.5\n",
    b"undo: 2\nforce: true\n",
    b"action: stop\nat: 40\n",
    b"relative: {lr: {op: '*', by: 0.5}}\n",
)
MLRUNNER = b"""\
template:
  train: python train.py --lr {lr} --opt {o} -b {b}
  test: python test.py '{seed}'
resource: [0, 1]
default: {lr: 0.1, seed: 2, b: 3}
alias: {opt: {sgd: {o: sgd, b: 0}, adam: {o: adam, b: 0.9}}}
---
opt: [sgd, adam]
lr: [0.1, 0.01]
"""
TRAINCONFIG = b"""\
lr: 0.1
weight-decay!: 0.1
b: [foo, [1, 2], {c!: 3}]
scale[int|0|9]: 1
model: &model
  dim[log|1|1e3]: 3
other: *model
"""
INI = b"""\
[DEFAULTS]
# how fast
lr = 1e-3
name = "x" ; a comment
list = [1, 2]
{"model": {"dim": 3}} = 1
"""


class NoError(Exception):
    """Stands for no error at all: nothing may be raised."""


@dataclass(frozen=True)
class Parser:
    """What reads outside input, with examples of it; `errors` are what it may raise."""

    read: Callable[[bytes, Path], object]
    examples: tuple[bytes, ...]
    errors: tuple[type[BaseException], ...] = (NoError,)


def text(data: bytes) -> str:
    return data.decode(errors="replace")


def of_file(name: str, read: Callable[[RunDir], object]) -> Callable[[bytes, Path], object]:
    """Return a reader of a file of a run dir."""

    def read_it(data: bytes, folder: Path) -> object:
        run = RunDir.at(folder)
        (folder / name).write_bytes(data)
        return read(run)

    return read_it


def all_of_a_row(run: RunDir) -> object:
    """Read a run for `ls`, for the table, and for its page."""
    assert summarize(run).name
    assert json.dumps(read_row(run).results(), default=str)
    return read_view(RunRow.of(run), read_events(run))


def source_of(kind: str) -> Callable[[bytes, Path], object]:
    def read_it(data: bytes, folder: Path) -> object:
        (folder / f"given.{kind}").write_bytes(data)
        return read_file(f"{kind}/{folder}/given.{kind}", kind)

    return read_it


def request_of_page(data: bytes, _: Path) -> object:
    """Ask the gate for a path with headers, as lines; nobody without the token gets in."""
    path, *lines = text(data).splitlines() or [""]
    pairs = [line.partition(":")[::2] for line in lines]
    headers = {name.lower(): value.strip() for name, value in pairs}
    place, _, query = path.partition("?")
    access = Access.of_url("http://127.0.0.1:5006/abc/?token=0123456789abcdef")
    admission = access.judge(HttpRequest("GET", place, query, headers, dict(pairs), "127.0.0.1"))
    assert admission.kind in ("admit", "welcome") or "0123456789abcdef" not in admission.target
    assert admission.kind not in ("admit", "welcome") or b"0123456789abcdef" in data
    return admission


def values_of_link(data: bytes, _: Path) -> object:
    assert session.read(text(data), "") == text(data)
    return [session.read(text(data), like) for like in (["a"], True, 0.5, 1)]


def slots_of(data: bytes, _: Path) -> object:
    return make_slots(text(data).splitlines(), Visible((Gpu("0", "GPU-a", "A100"), Gpu("1", "GPU-b", "A100"))), cores=4)


def command_line(data: bytes, folder: Path) -> object:
    """Call a command that only reads, as `main` does, with a word for each line (no system passes a NUL on)."""
    words = os.fsdecode(data.replace(b"\0", b"")).split("\n")
    app(["ls", str(folder)] if words[0] not in READING else [words[0], str(folder), *words[1:]], prog_name="trainctl")
    return None


def assigned(data: bytes, _: Path) -> object:
    key, _, value = text(data).partition("=")
    return take_apart(text(data)), parse_edits({key: value}, KEYS)


READING = ("ls", "show", "log", "table", "diff", "tail", "config", "explain")

PARSERS: Mapping[str, Parser] = {
    "changelog": Parser(lambda data, _: loads(data), (CHANGELOG,), (TrainctlError,)),
    "request": Parser(
        of_file("request.yaml", lambda run: read_request(run.path / "request.yaml")), REQUESTS, (EditError,)
    ),
    "assignment": Parser(
        assigned,
        (b"lr=0.5", b"lr=1e-3", b"norm=batch", b"betas=[1,2]", b"any={a: 1}", b"opt.name=null"),
        (TrainctlError,),
    ),
    "editor sheet": Parser(
        lambda data, _: changes({"lr": 0.1, "norm": "new"}, text(data), KEYS),
        (write_sheet({"lr": 0.1, "norm": "new"}, KEYS, "edit").encode(),),
        (TrainctlError,),
    ),
    "status.yaml": Parser(
        of_file("status.yaml", read_status), (b"state: running\nstarted: 1.5\npid: 7\nattempt: 2\nslot: '0'\n",)
    ),
    "result.yaml": Parser(
        of_file("result.yaml", read_result),
        (b"value: 0.5\n", b"value: {a: [1, .nan]}\ntype: tuple\n"),
        (TrainctlError,),
    ),
    "run.yaml": Parser(
        of_file("run.yaml", all_of_a_row), (b"name: x\noverrides: [lr=1]\nidentity: f00d\nargv: [a]\ncwd: /\n",)
    ),
    "progress.yaml": Parser(
        of_file("progress.yaml", all_of_a_row), (b"step: 5\ntotal: 10\nrate: 2.5\npaused: false\n",)
    ),
    "metrics.jsonl": Parser(
        of_file("metrics.jsonl", lambda run: (read_metrics(run.metrics), all_of_a_row(run))), (METRICS,)
    ),
    "events.jsonl": Parser(of_file("events.jsonl", lambda run: (read_events(run), all_of_a_row(run))), (EVENTS,)),
    "changelog.yaml": Parser(of_file("changelog.yaml", all_of_a_row), (CHANGELOG,)),
    "cursor": Parser(
        of_file("cursor.json", lambda run: Cursor.read(run.path / "cursor.json")),
        (b'{"offset": 5, "step": 3, "t": 1.5}',),
    ),
    "ini": Parser(source_of("ini"), (INI,), (TrainctlError,)),
    "json": Parser(source_of("json"), (b'{"lr": 0.1, "model": {"dim": [1, 2]}}',), (TrainctlError,)),
    "yaml": Parser(source_of("yaml"), (b"lr: 0.1\nmodel: {dim: 3, name: '${lr}'}\n",), (TrainctlError,)),
    "mlrunner": Parser(lambda data, _: mlrunner.carry(text(data), "params.yaml"), (MLRUNNER,), (TrainctlError,)),
    "trainconfig": Parser(lambda data, _: trainconfig.carry(text(data)), (TRAINCONFIG,), (TrainctlError,)),
    "template": Parser(
        lambda data, _: (list(pieces(text(data), "here")), words_of_value(text(data), "here")),
        (b"python x.py --lr ${lr} --out ${run_dir:}/o '${name}'", rb"echo \${HOME} ${oc.env:HOME,x}"),
        (CommandError, SettingError),
    ),
    "name": Parser(lambda data, _: job_name([text(data), "lr=1"]), (b"lr=0.1", b"norm=new", b"+a.b=[1,2]", b"~opt")),
    "slots": Parser(slots_of, (b"0\n1", b"0,1\ncpu", b"GPU-a", b"1\n0,1\n1"), (SettingError,)),
    "where": Parser(
        lambda data, _: terms_of([text(data)]),
        (b"lr>0.01 norm=new", b"state!=failed", b"a.b<=1e-3 c='x y'"),
        (TrainctlError,),
    ),
    "link": Parser(values_of_link, (b"a,b", b"0.5", b"true"), (ValueError,)),
    "command line": Parser(
        command_line,
        (
            b"ls\n--where\nlr>0.01 norm=new\n--sort\n-loss",
            b"table\n--by\nlr\n--metric\nloss:min\n--format\ncsv",
            b"log\n--json",
            b"tail\n-n\n5",
            b"diff\n.\n--step\n3",
            b"show",
            b"config\n--step\n1",
            b"explain\nlr",
        ),
        (TrainctlError, OSError, SystemExit),
    ),
    "page request": Parser(
        request_of_page,
        (
            b"/abc/?token=x\nHost: 127.0.0.1:5006\nCookie: a=b",
            b"/abc/run/Lr_1?tab=log\nOrigin: http://127.0.0.1:5006\nUpgrade: websocket",
        ),
    ),
    "basic authorization": Parser(lambda data, _: parse_basic(text(data)), (b"Basic bWU6c2VjcmV0", b"basic OnB3")),
    "address of agents": Parser(
        lambda data, _: Address.read(text(data)), (b'{"hosts": ["a"], "port": 5, "secret": "00ff"}',), (ValueError,)
    ),
}


@contextmanager
def not_slow(what: Callable[[], str]) -> Iterator[None]:
    begun = time.thread_time()
    yield
    assert time.thread_time() - begun < SLOWEST_S, f"too slow: {what()}"


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", PARSERS)
def test_nearly_right_input_is_a_value_or_an_error_of_ours(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    parser, run = PARSERS[name], RunDir.at(tmp_path / "run")
    run.create()
    write_status(run, Status("done", slot="0", started=1000.0, ended=1060.0, exit_code=0))
    files.write_yaml(run.run, {"name": "run", "overrides": ["lr=1"]})
    for number in range(CASES):
        data = mutated(parser.examples, random.Random(f"{SEED} {name} {number}"))
        try:
            with not_slow(lambda: repr(data[:2000])):  # noqa: B023  # it is called before the next case
                parser.read(data, run.path)
        except parser.errors as error:
            said = str(error)
            assert said, data
            assert len(said) < 3 * MOST_BYTES, data
        except Exception as error:
            raise AssertionError(f"seed {SEED}, case {number}: {data[:2000]!r}") from error
    assert not (tmp_path / "pwned").exists()
