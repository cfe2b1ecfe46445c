"""One rank of a training that only tells what it sees: `python ranks_app.py RUN_DIR OUT key=value …`.

Each rank writes `OUT/rank<r>.json`: what its config said at each step, what its hook and its action saw, at which steps
`live.step()` made the ranks wait for each other, how it ended. Each step sums a number over all ranks, as gradients are
summed, so that no rank can run away from the others (unless `sums=false`).
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as ranks
from omegaconf import DictConfig, OmegaConf

import trainctl

START = timedelta(minutes=10)  # for all to be there
COLLECTIVES = ("all_gather", "all_reduce", "barrier", "broadcast", "gather", "recv", "reduce", "scatter", "send")


def note_collectives(seen: dict[str, Any], *, live: list[trainctl.Live]) -> None:
    """Note each collective call by the step that the live session is at; those of the task itself are taken out."""

    def noted(name: str, call: Any) -> Any:
        def collective(*arguments: Any, **options: Any) -> Any:
            seen["collectives"].append([live[0].step_number if live else 0, name])
            return call(*arguments, **options)

        return collective

    for name in COLLECTIVES:
        setattr(ranks, name, noted(name, getattr(ranks, name)))


def remember_groups() -> list[Any]:
    """Return a list of the group of all ranks, which is None, and of those that are made from now on."""
    groups: list[Any] = [None]
    new_group = ranks.new_group

    def remembered(*arguments: Any, **options: Any) -> Any:
        groups.append(new_group(*arguments, **options))
        return groups[-1]

    setattr(ranks, "new_group", remembered)  # noqa: B010  # mypy does not know that it is one
    return groups


def limit(groups: list[Any], timeout_s: float | None) -> None:
    """Let ranks wait for each other no longer than that from now on."""
    for group in groups if timeout_s is not None else ():
        ranks.distributed_c10d._set_pg_timeout(timedelta(seconds=timeout_s), group)


def train(cfg: DictConfig, run_dir: str, seen: dict[str, Any]) -> None:
    opened: list[trainctl.Live] = []
    groups = remember_groups()
    if cfg.note_collectives:
        note_collectives(seen, live=opened)
    live = trainctl.live(cfg, run_dir=run_dir)
    opened.append(live)
    seen["seed"] = [live.seed, cfg.trainctl.seed, torch.initial_seed()]
    rank = ranks.get_rank()

    @live.on_edit
    def wait_for_all(edit: trainctl.Edit) -> None:
        ranks.barrier()
        seen["edits"].append([edit.step, dict(edit.values)])

    @live.action("sum")
    def add_up(number: int) -> None:
        total = torch.tensor(number + rank)
        ranks.all_reduce(total)
        seen["sums"].append([live.step_number, int(total)])

    if "RESUME" in os.environ:
        live.load_state_dict({**json.loads(Path(os.environ["RESUME"]).read_text())})
    while live.step_number < cfg.steps:
        step = live.step()
        if step == 1:  # not before: ranks may begin at very different times
            limit(groups, cfg.timeout_s)
        if cfg.sums:
            number = torch.tensor(step)
            ranks.all_reduce(number)
            assert int(number) == step * ranks.get_world_size()
        seen["values"].append([step, cfg.optim.lr, cfg.n, live.now.text])
        live.log(rank=rank)
        if live.should_checkpoint:
            seen["checkpoints"].append(step)
            if rank == 0:
                Path(run_dir, "checkpoint.json").write_text(json.dumps(live.state_dict()))
        if live.should_stop:
            break
        if rank == cfg.strays and step == 5:
            live.epoch()
        time.sleep(cfg.sleep_s)


def main() -> None:
    run_dir, out, *overrides = sys.argv[1:]
    defaults = {"optim": {"lr": 0.1}, "n": 0, "text": "", "steps": 1_000_000, "sleep_s": 0.001, "timeout_s": None}
    modes = {"sums": True, "strays": None, "note_collectives": False, "trainctl": {"seed": None}}
    cfg = OmegaConf.merge({**defaults, **modes}, OmegaConf.from_dotlist(overrides))
    assert isinstance(cfg, DictConfig)
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    meeting_point = "env://" if "MASTER_ADDR" in os.environ else f"file://{out}/meeting-point"
    ranks.init_process_group("gloo", init_method=meeting_point, rank=rank, world_size=size, timeout=START)
    seen: dict[str, Any] = {name: [] for name in ("values", "edits", "sums", "checkpoints", "collectives")}
    seen |= {"pid": os.getpid(), "error": None}
    try:
        train(cfg, run_dir if rank == 0 else f"{run_dir}-of-rank-{rank}", seen)
    except Exception as error:
        seen["error"] = f"{type(error).__name__}: {error}"
        raise
    finally:
        Path(out, f"rank{rank}.json").write_text(json.dumps(seen))
    ranks.destroy_process_group()  # PyTorch's own threads may abort a process that ends with a group


if __name__ == "__main__":
    main()
