"""Ranks without PyTorch: processes that agree through pipes. `python piped_app.py RUN_DIR OUT COUNT STEPS [dies]`."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

import trainctl


def train(rank: int, run_dir: str, out: str, steps: int, dies: bool, ends: list[Connection]) -> None:
    os.environ["RANK"] = str(rank)
    calls = 0

    def agree(data: bytes) -> bytes:
        nonlocal calls
        calls += 1
        if rank != 0:
            return ends[0].recv_bytes()
        for end in ends:
            end.send_bytes(data)
        return data

    seen: dict[str, Any] = {"values": [], "edits": [], "calls": [], "error": None}
    cfg = OmegaConf.create({"lr": 0.1, "trainctl": {"seed": None, "sync_every": 5}})
    try:
        live = trainctl.live(cfg, run_dir=run_dir, agree=agree)
        live.on_edit(lambda edit: seen["edits"].append([edit.step, dict(edit.values)]))
        seen["seed"] = live.seed
        while live.step_number < steps and not live.should_stop:
            before = calls
            seen["values"].append([live.step(), cfg.lr])
            if calls != before:
                seen["calls"].append(live.step_number)
            live.log(rank=rank)
            if dies and rank == 1 and live.step_number == 7:
                os._exit(9)
    except trainctl.RankError as error:
        seen["error"] = str(error)
        raise
    finally:
        Path(out, f"rank{rank}.json").write_text(json.dumps(seen))
    assert "torch" not in sys.modules


def main() -> None:
    run_dir, out, count, steps, *rest = sys.argv[1:]
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe(duplex=False) for _ in range(int(count) - 1)]
    ends: list[list[Connection]] = [[sender for _, sender in pipes], *([receiver] for receiver, _ in pipes)]
    processes = []
    for rank, own in enumerate(ends):
        arguments = (rank, run_dir, out, int(steps), bool(rest), own)
        processes.append(context.Process(target=train, args=arguments))
        processes[-1].start()
        for end in own:
            end.close()  # so that who reads hears of the end of who writes
    for process in processes:
        process.join()
    sys.exit(max(map(abs, (process.exitcode or 0 for process in processes))))


if __name__ == "__main__":
    main()
