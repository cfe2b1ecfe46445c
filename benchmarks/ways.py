"""The ways to run many jobs that `benchmarks/launch.py` compares: what each takes, and its command line."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from environments import gnu_parallel, programs_of, torch_folder

APP = Path(__file__).with_name("noop") / "app.py"
FORKED = APP.with_name("forked.py")
RIVALS = ("submitit", "ray", "mlrunner", "parallel")
_DISTRIBUTIONS = {
    "submitit": ("hydra-core>=1.3.2,<1.4", "hydra-submitit-launcher"),
    "ray": ("hydra-core>=1.3.2,<1.4", "hydra-ray-launcher"),
    "mlrunner": ("mlrunner",),
}

Command = Callable[[Path, int, int, float], list[str]]  # folder, jobs, slots, seconds that each job takes


@dataclass(frozen=True, slots=True)
class Way:
    """A way to run many jobs.

    Attributes:
        name: as the table shows it.
        processes: whether every job has a process of its own.
        command: makes the command line that runs all jobs.
        environment: variables that its processes get.
    """

    name: str
    processes: bool
    command: Command
    environment: Mapping[str, str] = field(default_factory=dict)


def slots_way(*settings: str) -> Way:
    """Return trainctl's launcher, with more settings of the launcher."""

    def command(folder: Path, jobs: int, slots: int, seconds: float) -> list[str]:
        chosen = ["hydra/launcher=slots", f"hydra.launcher.slots={slots}", *settings]
        return _multirun(sys.executable, folder, jobs, seconds, chosen)

    return Way("slots", True, command)


def _joblib(folder: Path, jobs: int, slots: int, seconds: float) -> list[str]:
    return _multirun(sys.executable, folder, jobs, seconds, ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={slots}"])


def _submitit(python: str) -> Command:
    def command(folder: Path, jobs: int, slots: int, seconds: float) -> list[str]:
        # it starts all jobs of a batch at once and waits for the last of them: a batch per slot is the fairest
        chosen = ["hydra/launcher=submitit_local", f"hydra.sweeper.max_batch_size={slots}"]
        return _multirun(python, folder, jobs, seconds, chosen)

    return command


def _ray(python: str) -> Command:
    def command(folder: Path, jobs: int, slots: int, seconds: float) -> list[str]:
        chosen = ["hydra/launcher=ray", f"+hydra.launcher.ray.init.num_cpus={slots}"]
        return _multirun(python, folder, jobs, seconds, chosen)

    return command


def _forked(_: Path, jobs: int, slots: int, seconds: float) -> list[str]:
    return [sys.executable, str(FORKED), str(jobs), str(slots), str(seconds)]


FORKS = Way("a bare fork", True, _forked)  # the least that a process of its own can cost


def _multirun(python: str, folder: Path, jobs: int, seconds: float, settings: Sequence[str]) -> list[str]:
    swept = f"x=range({jobs})"
    return [python, str(APP), "-m", *settings, f"hydra.sweep.dir={folder / 'out'}", f"seconds={seconds}", swept]


def _single(folder: Path, seconds: float, x: str) -> str:
    place = shlex.quote(str(folder / "out"))
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(APP))} hydra.run.dir={place}/{x} seconds={seconds} x={x}"


def _loop(folder: Path, jobs: int, slots: int, seconds: float) -> list[str]:
    loop = f"for x in $(seq {{first}} {slots} {jobs - 1}); do {_single(folder, seconds, '$x')}; done"
    loops = " & ".join(f"({loop.format(first=first)})" for first in range(slots))
    return ["bash", "-c", f"{loops} & wait"]


def _parallel(program: str) -> Command:
    def command(folder: Path, jobs: int, slots: int, seconds: float) -> list[str]:
        numbers = [str(number) for number in range(jobs)]
        return ["perl", program, "--will-cite", "-j", str(slots), _single(folder, seconds, "{}"), ":::", *numbers]

    return command


def _mlrunner(program: str) -> Command:
    def command(folder: Path, jobs: int, slots: int, seconds: float) -> list[str]:
        params = folder / "params.yaml"
        first = f"template: {{run: {_single(folder, seconds, '{x}')!r}}}\nresource: {list(range(slots))}\n"
        params.write_text(f"---\n{first}---\nx: {list(range(jobs))}\n")
        return [program, "-y", str(params), "-o", str(folder / "mlrunner")]

    return command


def find_ways(wanted: Sequence[str]) -> tuple[list[Way], list[str]]:
    """Return the ways that can be measured here, the slots first, and a sentence for each one that is left out."""
    ways = [slots_way(), Way("joblib", False, _joblib), Way("a shell loop", True, _loop)]
    left_out = []
    for name in RIVALS:
        if name not in wanted:
            left_out.append(f"{name} is left out; --with {name} measures it")
            continue
        try:
            ways.append(_rival(name))
        except RuntimeError as error:
            left_out.append(f"{name} is left out: {error}")
    return ways, left_out


def _rival(name: str) -> Way:
    if name == "parallel":
        return Way("GNU parallel", True, _parallel(str(gnu_parallel())))
    programs = programs_of(name, _DISTRIBUTIONS[name])
    torch = torch_folder()  # for `--torch`: their environments hold none
    environment = {"PYTHONPATH": str(torch)} if torch is not None else {}
    if name == "submitit":
        return Way("submitit_local", True, _submitit(str(programs / "python")), environment)
    if name == "ray":
        return Way("ray", False, _ray(str(programs / "python")), environment)
    return Way("mlrunner", True, _mlrunner(str(programs / "run")))


def has_torch() -> bool:
    """Say whether torch can be imported, without importing it."""
    return importlib.util.find_spec("torch") is not None
