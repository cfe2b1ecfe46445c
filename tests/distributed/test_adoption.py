"""A project's own loop on two ranks: edited as it runs, killed, resumed by the same command, replayed and verified."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from project_processes import ProjectProcesses
from rank_processes import LOOPBACK, PATIENCE_S, ask

from trainctl.config.changelog import loads
from trainctl.rundir.events import read_events
from trainctl.rundir.paths import RunDir, find_runs
from trainctl.rundir.status import read_status, state_of

pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.timeout(900)  # several processes, each of which imports PyTorch

CONFIG = """
defaults: [trainctl, _self_]
optim: {lr: 0.1, momentum: 0.9}
steps: 60
drawn: ${draw:}
checkpoint: ${hydra:runtime.output_dir}/last.pt
trainctl: {panel: {enabled: false}}
"""
TRAINING = """
import json, os, time, uuid
import hydra, torch, trainctl
from omegaconf import OmegaConf
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

OmegaConf.register_new_resolver("draw", lambda: uuid.uuid4().hex)

def batch(step, rank):
    made = torch.Generator().manual_seed(1000 * rank + step)
    inputs = torch.randn(16, 4, generator=made)
    return inputs, inputs @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])

def train(cfg, checkpoint):
    live = trainctl.live(cfg)
    rank, before = dist.get_rank(), live.previous_attempt
    seen = [rank, live.resuming, before and [before.number, before.state, before.last_step], cfg.drawn]
    with open(os.environ.get("SEEN", os.devnull), "a") as file:
        file.write(json.dumps(seen) + chr(10))
    torch.manual_seed(live.seed)
    model = DistributedDataParallel(torch.nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=cfg.optim.lr, momentum=cfg.optim.momentum)
    live.bind(optimizer, lr="optim.lr")
    if os.path.exists(checkpoint):
        state = torch.load(checkpoint, weights_only=False)
        model.module.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        live.load_state_dict(state["live"])
    live.total = cfg.steps
    while live.step_number < cfg.steps:
        step = live.step()
        inputs, targets = batch(step, rank)
        loss = torch.nn.functional.mse_loss(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        live.log(loss=loss, lr=optimizer.param_groups[0]["lr"], rank=rank)
        if rank == 0 and step % 5 == 0:
            parts = {"model": model.module.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**parts, "live": live.state_dict(rng=True)}, checkpoint + ".new")
            os.replace(checkpoint + ".new", checkpoint)
        if "GO" in os.environ and step == 20:  # the test kills the program behind it
            while not os.path.exists(os.environ["GO"]): time.sleep(0.02)
        if "GO" in os.environ and step == 28:
            print("at 28", flush=True)
            time.sleep(1000)
    live.fingerprint(model.module)
    dist.destroy_process_group()
"""
TORCHRUN_APP = """
@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    dist.init_process_group("gloo")
    train(cfg, cfg.checkpoint)

if __name__ == "__main__":
    main()
"""
SPAWN_APP = """
def rank_of(rank, cfg, checkpoint, meeting):
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    train(cfg, checkpoint)

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    place = hydra.core.hydra_config.HydraConfig.get().runtime.output_dir
    mp.spawn(rank_of, (cfg, cfg.checkpoint, f"{place}/meeting-{os.getpid()}"), nprocs=2)

if __name__ == "__main__":
    main()
"""
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1", "--nproc-per-node=2"]
KINDS = {"torchrun": (TORCHRUN_APP, TORCHRUN), "spawn": (SPAWN_APP, [])}


class Project(ProjectProcesses):
    """A directory with a program of two ranks, and the processes that run it."""

    def __init__(self, path: Path, kind: str) -> None:
        super().__init__(path, LOOPBACK, PATIENCE_S)
        self.run, self.go = RunDir.at(path / "outputs/run"), path / "go"
        text, launcher = KINDS[kind]
        (path / "config.yaml").write_text(CONFIG)
        (path / "app.py").write_text(TRAINING + text)
        self.command = [sys.executable, *launcher, "app.py", "hydra.run.dir=outputs/run"]

    def start(self, **environment: str) -> psutil.Popen:
        self.seen_by_ranks = self.path / f"seen{len(self.started)}"
        return self.launch(self.command, SEEN=str(self.seen_by_ranks), **environment)

    def seen(self) -> list[Any]:
        """Return what each rank was told of the attempt before, and the value that it has for a drawn key."""
        return sorted(map(json.loads, self.seen_by_ranks.read_text().splitlines()))

    def answers(self, request: str) -> list[tuple[str, int | None]]:
        return [(event.state, event.step) for event in read_events(self.run) if event.id == request]

    def rates(self) -> dict[int, Any]:
        records = map(json.loads, self.run.metrics.read_text().splitlines())
        return {record["step"]: record["lr"] for record in records if "lr" in record and "rank" in record}


@pytest.fixture(params=["torchrun", pytest.param("spawn", marks=pytest.mark.long)])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path, request.param)
    yield made
    made.kill()


@pytest.mark.slow
def test_loop_on_ranks_is_edited_killed_resumed_replayed_and_verified(project: Project) -> None:
    project.start(GO=str(project.go))
    project.until((project.run.path / "last.pt").exists)
    edit = ask(project.run, {"optim.lr": 0.02}, at=22)
    project.until(lambda: project.answers(edit))
    project.go.touch()
    project.until(lambda: "at 28" in project.printed())
    assert ("applied", 22) in project.answers(edit)
    drawn = loads(project.run.changelog.read_text()).base["drawn"]
    assert project.seen() == [[0, False, None, drawn], [1, False, None, drawn]]
    project.kill()
    assert state_of(project.run) == "interrupted"

    project.start()
    assert project.started[-1].wait(PATIENCE_S) == 0, project.printed()[-3000:]
    seen = project.seen()
    last = seen[0][2][2]
    assert 20 <= last <= 28  # what a kill has kept from the disk is not known
    told = [True, [1, "interrupted", last], drawn]
    assert seen == [[0, *told], [1, *told]]
    status = read_status(project.run)
    assert status is not None
    assert (status.state, status.attempt) == ("done", 2)
    assert [found.path for found in find_runs(project.path)] == [project.run.path]
    assert project.rates() == {step: 0.1 if step < 22 else 0.02 for step in range(1, 61)}
    changelog = loads(project.run.changelog.read_text(), source="run")
    assert [(edit.step, dict(edit.values)) for edit in changelog.edits] == [(22, {"optim.lr": 0.02})]
    listed = project.cli("ls")
    assert "60/60" in listed.stdout, listed.stdout + listed.stderr
    assert "0.02" in project.cli("table").stdout

    verified = project.cli("replay", "outputs/run", "--verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr[-3000:]
    assert verified.stdout.startswith("identical: ")
    assert "weights hash" in verified.stdout
