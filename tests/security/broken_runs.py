"""A directory of runs in which each fault that a file may have stands in each file, beside three good ones."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

from trainctl.config.changelog import Changelog, Edit, dumps
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import Status, write_status

GOOD = ("good-0", "good-1", "good-2")
YAML = ("status.yaml", "run.yaml", "result.yaml", "progress.yaml", "changelog.yaml")
LINES = ("metrics.jsonl", "events.jsonl")
OTHERS = ("run.lock", "job.log", ".hydra/config.yaml", ".hydra/hydra.yaml", "stop.yaml")
FOLDERS = ("inbox", ".hydra", ".track", "tensorboard")
TO_MANY = 10**400

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]\n" for at in range(1, 30)
)
DEEP = "[" * 30_000


def _make_huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**42)


def _make_large(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"value: '")
        for _ in range(200):
            file.write(b"x" * 2**20)
        file.write(b"'\n")


# what may stand in a file's place
PLACED: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo,
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "nowhere": lambda path: path.symlink_to("nowhere"),
    "folder": lambda path: path.mkdir(),
    "socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
    "huge": _make_huge,
}
TEXTS: dict[str, bytes] = {
    "no-text": bytes(range(256)) * 3,
    "bomb": BOMB.encode(),
    "deep": DEEP.encode(),
    "bool-tag": b"state: !!bool q\n0: !!bool q\n",
    "time-tag": b"state: !!timestamp z\nvalue: !!timestamp z\n0: !!timestamp z\n",
    "python-tag": b"!!python/object/apply:os.system [touch pwned]\n",
    "list": b"- 1\n- 2\n",
    "digits": b"state: 0x" + b"f" * 6000 + b"\nvalue: 0x" + b"f" * 6000 + b"\n0: {a: 0x" + b"f" * 6000 + b"}\n",
    "key": b"{[1]: 2, state: done}\n",
    "spaces": b"state: done" + b" " * 32_000 + b"x: 1\n",
    "zeros": bytes(4096),
    "long": b'state: "' + b"x" * 2_000_000 + b'"\n',
}
STATUS = {
    "null": b"state: null\n",
    "three": b"state: 3\n",
    "nested": b"state: [{a: {}}]\n",
    "escape": b'state: "\\x1b[31mred\\x1b[0m"\n',
    "odd": f"state: done\nattempt: {TO_MANY}\npid: x\nstarted: 1e300\nexit_code: []\ncommands: 3\n".encode(),
}
PROGRESS = {
    "text": b"step: many\ntotal: [1]\nrate: fast\n",
    "large": f"step: {TO_MANY}\ntotal: {TO_MANY}\nrate: {TO_MANY}\n".encode(),
}
RECORDS = {
    "deep": b'{"id": "a", "state": "applied", "step": 1, "loss": ' + DEEP.encode() + b"\n",
    "nested": b'{"id": "a", "state": "applied", "t": 1, "step": ' + b"[" * 500 + b"]" * 500 + b"}\n",
    "text": b'{"id": "a", "state": "applied", "t": "now", "step": "many", "loss": "low", "edits": 3}\n',
    "large": f'{{"id": "a", "state": "rejected", "t": {TO_MANY}, "step": {TO_MANY}, "loss": {TO_MANY}}}\n'.encode(),
    "float": b'{"id": "a", "state": "rejected", "t": 1e300, "step": 1e300, "loss": 1e400}\n',
    "no-text": bytes(range(256)) * 3 + b"\n",
    "none": b"no record\n" * 3,
    "spaces": b'{"id": "a",' + b" " * 32_000 + b'"state": 3}\n',
}
CHANGELOG = {
    "spaces": b"0: {lr: 0.1}\n5: {lr: 0.2}  # " + b" " * 32_000 + b"x\n",
    "steps": f"0: {{lr: 0.1}}\n{TO_MANY}: {{lr: 0.2}}\n".encode(),
    "words": b"0: {lr: 0.1}\nfive: {lr: 0.2}\n",
}


def make_run(root: Path, name: str, lr: float) -> RunDir:
    """Write a run that is done, as it is left behind."""
    run = RunDir.at(root / name)
    run.create()
    files.write_yaml(run.run, {"name": name, "overrides": [f"lr={lr}"], "identity": "f00d", "packages": {"x": "1"}})
    run.changelog.write_text(dumps(Changelog({"lr": lr, "norm": "new"}, [Edit(3, {"lr": 0.5}, who="me", via="cli")])))
    event = {"id": "r1", "state": "applied", "step": 3, "edits": {"lr": 0.5}, "who": "me", "via": "cli", "t": 1e9}
    files.append_lines(run.events, [event])
    run.metrics.write_text("".join(json.dumps({"step": at, "loss": 1 / at}) + "\n" for at in range(1, 6)))
    files.write_yaml(run.progress, {"step": 5, "total": 5, "rate": 2.5})
    files.write_yaml(run.result, {"value": lr * 2})
    write_status(run, Status("done", slot="0", started=1000.0, ended=1060.0, exit_code=0))
    run.log.write_text(f"log of {name}\n")
    return run


def make_broken_runs(root: Path) -> dict[str, RunDir]:
    """Write all runs; return those that are broken, by a name that says how: `status.yaml:fifo`."""
    for number, name in enumerate(GOOD):
        make_run(root, name, 0.1 * (number + 1))
    found: dict[str, RunDir] = {}

    def broken(file: str, fault: str, place: Callable[[Path], object]) -> None:
        run = make_run(root, f"{file.replace('/', '-').lstrip('.')}:{fault}", 0.7)
        path = run.path / file
        path.parent.mkdir(exist_ok=True)
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        place(path)
        found[run.name] = run

    for file in (*YAML, *LINES, *OTHERS):
        for fault, place in PLACED.items():
            broken(file, fault, place)
    for file in FOLDERS:
        for fault in ("fifo", "zero", "nowhere", "socket", "huge"):
            broken(file, fault, PLACED[fault])
    texts = [(file, TEXTS) for file in (*YAML, ".hydra/config.yaml", ".hydra/hydra.yaml")]
    texts += [("status.yaml", STATUS), ("progress.yaml", PROGRESS), ("changelog.yaml", CHANGELOG)]
    for file, contents in [*texts, *((file, RECORDS) for file in LINES)]:
        for fault, content in contents.items():
            broken(file, fault, lambda path, content=content: path.write_bytes(content))  # type: ignore[misc]
    broken("result.yaml", "large", _make_large)
    for fault in ("fifo", "deep"):
        run = make_run(root, f"all:{fault}", 0.7)
        for file in (*YAML, *LINES):
            (run.path / file).unlink()
            PLACED["fifo"](run.path / file) if fault == "fifo" else (run.path / file).write_text(DEEP)
        found[run.name] = run
    return found
