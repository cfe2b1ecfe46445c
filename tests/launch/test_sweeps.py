"""What Hydra lets a person say about a sweep, and what a task may do, works with `hydra/launcher=slots` too."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hydra
import pytest

from trainctl.config import yaml
from trainctl.rundir.provenance import relative_to

STARTS = ["fork", "spawn"]

PROGRAM = '''
import functools, multiprocessing, os, pickle
import hydra
from hydra.core.hydra_config import HydraConfig

HERE = os.path.dirname(os.path.abspath(__file__))

class Thing:
    """A class of the user's script."""
    def __init__(self, value): self.value = value
    def __eq__(self, other): return type(other) is Thing and self.value == other.value

def double(thing): return Thing(2 * thing.value)

def answer(thing, queue): queue.put(double(thing))

def note(text):
    with open(os.path.join(HERE, "ran.txt"), "a") as file: file.write(text + "\\n")

def main(cfg):
    note(f"{cfg.x}")
    if cfg.mode == "raise": raise ValueError("it broke")
    if cfg.mode == "where":
        return {"cwd": os.getcwd(), "threads": os.environ.get("OMP_NUM_THREADS"), "num": HydraConfig.get().job.num,
                "output_dir": HydraConfig.get().runtime.output_dir}
    if cfg.mode == "processes":
        context = multiprocessing.get_context(cfg.method)
        assert pickle.loads(pickle.dumps(Thing(1))) == Thing(1)
        with context.Pool(2) as pool:
            assert pool.map(double, [Thing(1), Thing(2)]) == [Thing(2), Thing(4)]
        queue = context.Queue()
        process = context.Process(target=answer, args=(Thing(3), queue))
        process.start()
        assert queue.get() == Thing(6)
        process.join()
        return process.exitcode
    return (float(cfg.x) - 3) ** 2

if __name__ == "__main__":
    hydra.main(version_base=os.environ.get("VERSION_BASE"), config_path="conf", config_name="config")(main)()
'''

CALLBACKS = """
import os
from hydra.experimental.callback import Callback

class Noting(Callback):
    def __init__(self, path): self.path = path
    def note(self, text):
        with open(self.path, "a") as file: file.write(text + "\\n")
    def on_multirun_start(self, config, **kwargs): self.note("multirun starts")
    def on_multirun_end(self, config, **kwargs): self.note("multirun ends")
    def on_job_start(self, config, **kwargs):
        self.note(f"job {config.hydra.job.num} starts {os.getpid()} {sorted(kwargs)}")
    def on_job_end(self, config, job_return, **kwargs):
        self.note(f"job {config.hydra.job.num} ends {os.getpid()} {job_return.status.name}")
"""

# Looks for the least return value: each round tries both neighbours of the best `x` so far, a step nearer.
ADAPTIVE = """
from dataclasses import dataclass
from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.utils import instantiate

@dataclass
class AdaptiveConf:
    _target_: str = "hydra_plugins.adaptive.AdaptiveSweeper"
    rounds: int = 2

ConfigStore.instance().store(group="hydra/sweeper", name="adaptive", node=AdaptiveConf, provider="adaptive")

class AdaptiveSweeper(Sweeper):
    def __init__(self, rounds): self.rounds = rounds
    def setup(self, *, hydra_context, task_function, config):
        from hydra.core.plugins import Plugins
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config)
    def sweep(self, arguments):
        values, number = {}, 0
        best = 0.0
        for round in range(self.rounds):
            tried = [best - 4 / 2**round, best + 4 / 2**round]
            jobs = self.launcher.launch([[*arguments, f"x={x}"] for x in tried], initial_job_idx=number)
            number += len(jobs)
            values.update({x: job.return_value for x, job in zip(tried, jobs)})
            best = min(values, key=values.get)
        print("best", best, values[best])
"""


class Program:
    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "app.py").write_text(PROGRAM)
        (path / "callbacks.py").write_text(CALLBACKS)
        (path / "conf").mkdir()
        (path / "conf" / "config.yaml").write_text("x: 1\nmode: ok\nmethod: fork\n")
        (path / "plugins" / "hydra_plugins").mkdir(parents=True)
        (path / "plugins" / "hydra_plugins" / "adaptive.py").write_text(ADAPTIVE)

    def run(self, *overrides: str, sweep_dir: str = "sweep", **environment: str) -> subprocess.CompletedProcess[str]:
        sweep = ["-m", "hydra/launcher=slots", "hydra.launcher.slots=2", f"hydra.sweep.dir={sweep_dir}"]
        paths = [str(self.path), str(self.path / "plugins"), os.environ.get("PYTHONPATH")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        return subprocess.run(
            [sys.executable, "app.py", *sweep, *overrides],
            cwd=self.path, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def values(self, jobs: int, sweep_dir: str = "sweep") -> list[Any]:
        root = self.path / sweep_dir
        return [yaml.loads((root / str(number) / "result.yaml").read_text())["value"] for number in range(jobs)]

    def ran(self) -> list[str]:
        file = self.path / "ran.txt"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


# -- what Hydra lets a person say --------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", STARTS)
def test_env_set_and_chdir_are_those_of_each_job(program: Program, start: str) -> None:
    done = program.run(
        "x=1,2", "mode=where", "hydra.job.chdir=true", "+hydra.job.env_set.OMP_NUM_THREADS='7${hydra.job.num}'",
        f"hydra.launcher.start={start}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for number, value in enumerate(program.values(2)):
        run = str(program.path / "sweep" / str(number))
        assert value == {"cwd": run, "threads": f"7{number}", "num": number, "output_dir": run}
        assert yaml.loads((Path(run) / "run.yaml").read_text())["cwd"] == str(program.path)
        assert (Path(run) / "job.log").exists()


def test_sweep_without_hydras_record_is_resumed_too(program: Program) -> None:
    for said in ("2 jobs: 2 done", "2 jobs: 2 skipped"):
        done = program.run("x=1,2", "hydra.output_subdir=null")
        assert done.returncode == 0, done.stderr
        assert said in done.stderr
    assert not (program.path / "sweep" / "0" / ".hydra").exists()
    assert program.values(2) == [4.0, 1.0]


def test_hydras_record_may_have_another_name(program: Program) -> None:
    assert program.run("hydra.output_subdir=record").returncode == 0
    assert (program.path / "sweep" / "0" / "record" / "config.yaml").exists()


@pytest.mark.slow
def test_batches_number_their_jobs_on(program: Program) -> None:
    done = program.run("x=range(0,5)", "mode=where", "hydra.sweeper.max_batch_size=2")
    assert done.returncode == 0, done.stderr
    assert [value["num"] for value in program.values(5)] == list(range(5))
    assert Counter(program.ran()) == Counter("01234")
    assert program.run("x=range(0,5)", "mode=where", "hydra.sweeper.max_batch_size=3").stderr.count("skipped") >= 2
    assert len(program.ran()) == 5


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS)
def test_callbacks_of_the_user_hear_of_every_job(program: Program, start: str) -> None:
    heard = program.path / "heard.txt"
    done = program.run(
        "mode=ok,raise", "+hydra.callbacks.mine._target_=callbacks.Noting", f"+hydra.callbacks.mine.path={heard}",
        f"hydra.launcher.start={start}",
    )  # fmt: skip
    assert done.returncode == 1
    lines = heard.read_text().splitlines()
    assert lines[0] == "multirun starts"
    for number, status in enumerate(("COMPLETED", "FAILED")):
        begin, end = (line for line in lines if line.startswith(f"job {number}"))
        begun = re.fullmatch(rf"job {number} starts (\d+) \['task_function'\]", begin)
        assert begun is not None
        assert end == f"job {number} ends {begun[1]} {status}"
    assert program.run("mode=ok", "+hydra.callbacks.mine._target_=callbacks.Noting",
                       f"+hydra.callbacks.mine.path={heard}").returncode == 0  # fmt: skip
    assert heard.read_text().splitlines()[-1] == "multirun ends"


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("base", [None, "1.3", *(["1.1"] if hydra.__version__.startswith("1.3.") else [])])
def test_version_base_is_the_one_of_the_program(program: Program, base: str | None, start: str) -> None:
    environment = {} if base is None else {"VERSION_BASE": base}
    for said in ("2 jobs: 2 done", "2 jobs: 2 skipped"):
        done = program.run("x=1,2", "mode=where", f"hydra.launcher.start={start}", **environment)
        assert done.returncode == 0, done.stderr
        assert said in done.stderr
    for number, value in enumerate(program.values(2)):
        run = program.path / "sweep" / str(number)
        # before 1.2 a job went into its run dir
        assert value["cwd"] == str(run if base == "1.1" else program.path), relative_to(run, program.path)
        assert value["output_dir"] == str(run)


@pytest.mark.slow
def test_different_jobs_never_share_a_dir(program: Program) -> None:
    readable = ["hydra.sweep.subdir=${trainctl_name:}", "x=1"]
    for sweep in ("+optim.lr=1,2", "+optim_lr=1,2", "+optimlr=1,2", "+act=relu,ReLU,RELU", "+text='a b','a/b',' '"):
        assert program.run(*readable, sweep).returncode == 0
    assert len(program.ran()) == 12
    runs = [path.parent for path in (program.path / "sweep").glob("*/status.yaml")]
    assert len(runs) == 12
    overrides = {str(yaml.loads((path / "run.yaml").read_text())["overrides"]) for path in runs}
    assert len(overrides) == 12
    assert {"OptimLr_1", "OptimLr_1.2", "Optimlr_1", "Act_relu"} <= {path.name for path in runs}


# -- what a task may do ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_task_may_use_processes_and_pickle_its_classes(program: Program, start: str, method: str) -> None:
    done = program.run("x=1,2", "mode=processes", f"method={method}", f"hydra.launcher.start={start}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert program.values(2) == [0, 0]
    assert Counter(program.ran()) == Counter("12")  # no child has run the program again


# -- sweepers that look at what jobs returned --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS)
def test_adaptive_sweeper_resumes_by_stored_return_values(program: Program, start: str) -> None:
    adaptive = ["hydra/sweeper=adaptive", f"hydra.launcher.start={start}"]
    first = program.run(*adaptive, "hydra.sweeper.rounds=2")
    assert first.returncode == 0, first.stderr
    assert "best 4.0 1.0" in first.stdout
    assert len(program.ran()) == 4
    longer = program.run(*adaptive, "hydra.sweeper.rounds=4")
    assert longer.returncode == 0, longer.stderr
    assert "best 3.0 0.0" in longer.stdout
    assert len(program.ran()) == 8  # the four of the first were not run again
    fresh = program.run(*adaptive, "hydra.sweeper.rounds=4", sweep_dir="fresh")
    assert program.values(8) == program.values(8, "fresh")
    assert fresh.stdout.splitlines()[-1] == longer.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("hydra_plugins.hydra_optuna_sweeper") is None, reason="hydra-optuna-sweeper is not there")
def test_optuna_sweep_resumes_by_stored_return_values(program: Program) -> None:
    optuna = ["hydra/sweeper=optuna", "hydra.sweeper.sampler.seed=1", "hydra.sweeper.n_jobs=2", "x=interval(0,6)"]
    best = []
    for trials, ran in ((4, 4), (4, 4), (8, 8)):
        done = program.run(*optuna, f"hydra.sweeper.n_trials={trials}")
        assert done.returncode == 0, done.stderr
        assert len(program.ran()) == ran
        best.append(yaml.loads((program.path / "sweep" / "optimization_results.yaml").read_text())["best_value"])
    assert best[0] == best[1] >= best[2]
