"""Jobs of several devices, and of several nodes: ranks that torchrun or srun starts, in one run dir."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from cluster_project import Project
from slurm_node import SlurmNode
from waiting import wait_until

pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # several processes, each of which imports PyTorch

RANKS = """
import json, os, subprocess, sys, time
from pathlib import Path
import hydra

START = {start}

@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg):
    if "{rank}" not in os.environ:
        subprocess.run([*START, *sys.argv], check=True)
        return None
    import torch, torch.distributed as ranks, trainctl
    rank, size = int(os.environ["{rank}"]), int(os.environ["{size}"])
    ranks.init_process_group("gloo", rank=rank, world_size=size)
    live = trainctl.live(cfg)
    run = Path(os.environ["RANKS_DIR"]) if "RANKS_DIR" in os.environ else Path(
        hydra.core.hydra_config.HydraConfig.get().runtime.output_dir)
    total, begin = 0.0, 0
    if (run / "ckpt.json").exists():
        state = json.loads((run / "ckpt.json").read_text())
        total, begin = state["total"], state["step"]
        live.load_state_dict(state["live"])
    live.log(begin=begin, size=size, port=int(os.environ["MASTER_PORT"]), node=os.uname().nodename)
    for step in range(begin + 1, cfg.steps + 1):
        live.step()
        rates = [None] * size
        ranks.all_gather_object(rates, (cfg.lr, step, rank, os.uname().nodename))
        assert len({{each[:2] for each in rates}}) == 1, rates
        total += cfg.lr * step
        time.sleep(cfg.pause)
        live.log(total=total, ranks=len({{each[2] for each in rates}}), nodes=len({{each[3] for each in rates}}))
        if live.should_checkpoint and rank == 0:
            (run / "ckpt.json").write_text(json.dumps({{"total": total, "step": step, "live": live.state_dict()}}))
    ranks.destroy_process_group()

if __name__ == "__main__":
    main()
"""
TORCHRUN = """[sys.executable, "-m", "torch.distributed.run",
         f"--nproc-per-node={len(os.environ.get('CUDA_VISIBLE_DEVICES', '').split(','))}"]"""
SRUN = '["srun", "--overlap", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1", sys.executable]'
STEPS = ("steps=120", "pause=0.1")


def of_ranks(project: Project, start: str, rank: str, size: str) -> None:
    (project.directory / "train.py").write_text(RANKS.format(start=start, rank=rank, size=size))


def wait_for_steps(project: Project, name: str, count: int) -> None:
    wait_until(lambda: len(totals(project, name)) >= count, f"{name} trains:\n{project.said}", deadline_s=200)


def totals(project: Project, name: str) -> list[dict[str, float]]:
    return [line for line in project.metrics(name) if "total" in line]


def assert_whole(project: Project, name: str, rates: Sequence[float]) -> None:
    """Check that each step was taken once, with these rates: as by a run that nothing has interrupted."""
    total, seen = 0.0, totals(project, name)
    assert [line["step"] for line in seen] == list(range(1, len(rates) + 1))
    for rate, line in zip(rates, seen, strict=True):
        total += rate * line["step"]
        assert line["total"] == total


def test_two_jobs_of_two_devices_train_beside_each_other_and_one_resumes_all_its_ranks(
    on_slurm: Project, slurm: SlurmNode
) -> None:
    of_ranks(on_slurm, TORCHRUN, "RANK", "WORLD_SIZE")
    process = on_slurm.start("lr=1,2", *STEPS, "hydra.launcher.gpus_per_node=2", "hydra.launcher.gpus_per_job=2")
    for name in ("Lr_1", "Lr_2"):
        wait_for_steps(on_slurm, name, 5)
    ports = {on_slurm.metrics(name)[0]["port"] for name in ("Lr_1", "Lr_2")}
    assert len(ports) == 2
    said = on_slurm.trainctl("set", "out/Lr_2", "lr=3")
    assert "applied at step" in said
    step = int(said.split("applied at step ")[1].split()[0].rstrip(",.:;)"))

    slurm.run("scancel", "--signal=USR2", "--batch", on_slurm.status("Lr_1")["engine"].split()[1])

    assert process.wait(400) == 0, on_slurm.said
    assert_whole(on_slurm, "Lr_1", [1] * 120)
    assert_whole(on_slurm, "Lr_2", [2] * (step - 1) + [3] * (121 - step))
    begins = [line for line in on_slurm.metrics("Lr_1") if "begin" in line]
    assert [line["size"] for line in begins] == [2, 2]
    assert begins[1]["begin"] > 0
    assert {line["ranks"] for line in totals(on_slurm, "Lr_1")} == {2}
    assert on_slurm.status("Lr_1")["attempt"] == 2


def test_four_ranks_have_the_four_devices_of_a_job(on_slurm: Project) -> None:
    of_ranks(on_slurm, TORCHRUN, "RANK", "WORLD_SIZE")
    on_slurm.sweep("lr=1,2", "steps=10", "hydra.launcher.gpus_per_node=4", "hydra.launcher.gpus_per_job=4")

    for rate, name in enumerate(("Lr_1", "Lr_2"), start=1):
        assert_whole(on_slurm, name, [rate] * 10)
        assert {line["ranks"] for line in totals(on_slurm, name)} == {4}


def test_job_of_two_nodes_has_one_run_dir_and_resumes_on_both(on_nodes: Project, two_nodes: SlurmNode) -> None:
    of_ranks(on_nodes, SRUN, "SLURM_PROCID", "SLURM_NTASKS")
    process = on_nodes.start("lr=1,2", *STEPS, "hydra.launcher.nodes=2")
    wait_for_steps(on_nodes, "Lr_1", 10)
    wait_for_steps(on_nodes, "Lr_2", 5)
    two_nodes.run("scancel", "--signal=USR2", "--batch", on_nodes.status("Lr_1")["engine"].split()[1])

    assert process.wait(400) == 0, on_nodes.said
    assert [path.name for path in on_nodes.runs()] == ["Lr_1", "Lr_2"]
    for rate, name in enumerate(("Lr_1", "Lr_2"), start=1):
        assert_whole(on_nodes, name, [rate] * 120)
        assert {(line["ranks"], line["nodes"]) for line in totals(on_nodes, name)} == {(2, 2)}
    assert on_nodes.status("Lr_1")["attempt"] == 2
    assert "state: done" in (on_nodes.out / "Lr_1" / "status.yaml").read_text()
    assert json.loads((on_nodes.out / "Lr_1" / "ckpt.json").read_text())["step"] > 0
