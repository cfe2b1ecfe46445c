"""Figures of one training run: a step, a read, a record; from a request to its effect; recording of a real training."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from figure import Figure, Rounds, known, times
from rivals import RIVALS, measure

HERE = Path(__file__).resolve().parent
TRAINCTL = "trainctl"


def step(long: bool) -> Figure:
    """Measure what each step costs while nobody edits."""
    rounds = Rounds()
    for _ in range(7 if long else 3):
        rounds.add(TRAINCTL, _own("step.py"))
        _ask_rivals(rounds, lambda name: measure(name, "step"))
    figure = Figure(
        "step",
        "A step, a read and a record, without edits",
        "Nanoseconds of one call in a plain loop, the loop taken off; medians of rounds in which trainctl and the others take turns. The limit is what "
        "an empty method call, or an attribute of a plain object, takes. trainctl watches the run's inbox in a thread; the others look at a "
        "file in each step.",
        ["", "ns", "beside the limit"],
        unit="ns",
    )
    call, attribute = "an empty method call", "an attribute, in a lambda"
    untouched = "the same read of a config without us, in a lambda"
    limits = {
        call: call, "live.step()": call, "an attribute, in a lambda": attribute,
        "live.now.optim.lr, in a lambda": attribute, "live.now.optim.lr after an edit, in a lambda": attribute,
        untouched: untouched, "cfg.optim.lr, in a lambda": untouched, "cfg.optim.lr after an edit, in a lambda": untouched,
        "live.log() of 3 numbers, in a lambda": call,
    }  # fmt: skip
    for what, limit in limits.items():
        ratio = rounds.ratio(TRAINCTL, TRAINCTL, what, limit)
        name = what.removesuffix(", in a lambda")
        figure.rows.append([name, rounds.median(TRAINCTL, what), times(ratio)])
        if what != limit and ratio is not None:
            figure.ratios[f"{name} / {limit.removesuffix(', in a lambda')}"] = ratio
    figure.bars += [(what, rounds.median(TRAINCTL, what) or 0.0) for what in (call, "live.step()")]
    for name in RIVALS:
        for what, own in (("step", "live.step()"), ("read", "live.now.optim.lr, in a lambda")):
            ratio = rounds.ratio(name, TRAINCTL, what, call if what == "step" else attribute)
            if (number := rounds.median(name, what)) is not None:
                figure.rows.append([f"{name}: a {what}", number, times(ratio)])
                figure.ratios |= known({f"trainctl / {name}, a {what}": rounds.ratio(TRAINCTL, name, own, what)})
                figure.bars += [(f"{name}: a step", number)] if what == "step" else []
    figure.notes += [*_left_out(rounds), "None of the others keeps records without a service."]
    return figure


def edit(long: bool) -> Figure:
    """Measure from a request to its effect, and for how long the training is held up."""
    rounds = Rounds()
    for _ in range(5 if long else 2):
        edits = 100 if long else 50
        rounds.add("the limit", {"latency": _write_ms(edits)})
        rounds.add(TRAINCTL, _quantiles(_own("latency.py", "--edits", edits)))
        _ask_rivals(rounds, lambda name: _quantiles(measure(name, "latency", edits, 1.0)))  # noqa: B023  # called at once
    figure = Figure(
        "edit",
        "From a request to its effect",
        "A training with steps of 1 ms; another process asks at random moments. Milliseconds from the call that files the request to the end "
        "of the step in which the value has changed, and for how long that step held up the training. The limit is one file written, synced and "
        "renamed: an edit of trainctl is on disk before it is in effect, theirs is not.",
        ["", "median ms", "99th percentile ms", "held up, median ms"],
        unit="ms",
    )
    for who in ("the limit", TRAINCTL, *RIVALS):
        if (latency := rounds.median(who, "latency")) is not None:
            figure.rows.append([who, latency, rounds.median(who, "p99"), rounds.median(who, "held")])
            figure.bars.append((who, latency))
    figure.ratios = known(
        {f"trainctl / {who}, request to effect": rounds.ratio(TRAINCTL, who, "latency") for who in RIVALS}
        | {"held up / one synced file": rounds.ratio(TRAINCTL, "the limit", "held", "latency")}
    )
    poll = "Ours looks into the inbox every 50 ms (`trainctl.poll_s`), off the training thread, where the others look in each step."
    figure.notes += [*_left_out(rounds), poll]
    return figure


def recording(long: bool) -> Figure:
    """Measure what recording costs a training of real size."""
    command = [sys.executable, str(HERE / "recording.py"), "--pairs", "40" if long else "12"]
    with tempfile.TemporaryDirectory() as folder:
        found = _json_of([*command, folder])
    figure = Figure(
        "recording",
        "What recording costs a training of real size",
        f"A ResNet of {found['parameters'] / 1e6:.1f} million parameters, batches of {found['batch']} images of 32 x 32, PyTorch on one thread of the "
        f"processor; {found['pairs']} pairs of {found['steps']} steps each, with and without `live.step()`, reads of two keys and "
        "`live.log()` of three numbers, in one process.",
        ["", "steps/s", "beside plain"],
        [
            ["plain", found["plain"], times(1.0)],
            ["recorded", found["recorded"], times(found["plain"] / found["recorded"])],
        ],
        {"time per step, recorded / plain": found["ratio"]},
        [("plain", found["plain"]), ("recorded", found["recorded"])],
        "steps/s",
    )
    low, high = found["quartiles"]
    verdict = ": no difference can be told from noise" if low <= 1 <= high else ""
    ratio = f"{found['ratio']:.3f} (quartiles {low:.3f} and {high:.3f})"
    figure.notes.append(f"The median of the pairs' ratios of time is {ratio}{verdict}.")
    return figure


def _ask_rivals(rounds: Rounds, ask: Callable[[str], dict[str, float]]) -> None:
    for name in RIVALS:
        if name in rounds.left_out:
            continue
        try:
            rounds.add(name, ask(name))
        except RuntimeError as error:
            rounds.left_out[name] = str(error)
        except subprocess.CalledProcessError as error:
            said = (error.stderr or b"").decode(errors="replace").strip().splitlines()
            raise RuntimeError(f"{name} did not do the work: {said[-1] if said else error}") from error


def _left_out(rounds: Rounds) -> list[str]:
    return [f"{name} is left out: {reason}." for name, reason in rounds.left_out.items()]


def _own(script: str, *arguments: object) -> dict[str, Any]:
    return _json_of([sys.executable, str(HERE / script), "--json", *map(str, arguments)])


def _json_of(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _quantiles(found: dict[str, list[float]]) -> dict[str, float]:
    latencies = sorted(found["latencies"])
    if not latencies:
        raise RuntimeError("no request had an effect")
    p99 = latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))]
    return {"latency": statistics.median(latencies), "p99": p99, "held": statistics.median(found["holds"])}


def _write_ms(count: int) -> float:
    """Return the median time of one small file that is written, synced and renamed."""
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(count):
            began = time.perf_counter()
            with (Path(folder) / "new").open("wb") as file:
                file.write(b"lr: 0.1\n")
                file.flush()
                os.fsync(file.fileno())
            (Path(folder) / "new").replace(Path(folder) / "request.yaml")
            taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)
