"""The settings of the launchers `slots_ray` and `slots_slurm`. Nothing of either engine is loaded to declare them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trainctl.launch.settings import SweepConf


@dataclass
class RayOptions:
    """The options for Ray, named as in hydra-ray-launcher.

    Attributes:
        init: arguments of `ray.init`. `address: null` starts Ray on this machine, `auto` and `ray://…` join a cluster.
        remote: options of the actors, one for each job at once: `num_gpus` (whole or a fraction), `num_cpus`,
            `resources`, `runtime_env`, `label_selector`, `scheduling_strategy`, ….
    """

    init: dict[str, Any] = field(default_factory=lambda: {"address": None})
    remote: dict[str, Any] = field(default_factory=dict)


@dataclass
class RayConf(SweepConf):
    """`hydra/launcher=slots_ray`."""

    _target_: str = "hydra_plugins.hydra_trainctl.slots.RayLauncher"

    # options passed on to Ray: `init` and `remote`
    ray: RayOptions = field(default_factory=RayOptions)

    # jobs at once; null: as many as the cluster has room for
    max_parallel: int | None = None

    # how often a job that lost its actor or node goes on with another one
    max_moves: int = 3


@dataclass
class SlurmConf(SweepConf):
    """`hydra/launcher=slots_slurm`: the names of hydra-submitit-launcher where it has one."""

    _target_: str = "hydra_plugins.hydra_trainctl.slots.SlurmLauncher"

    # what each allocation asks for, as sbatch has it
    partition: str | None = None
    account: str | None = None
    qos: str | None = None

    # time limit of an allocation, in minutes
    timeout_min: int = 60

    # what each allocation asks for, as sbatch has it
    cpus_per_task: int | None = None
    nodes: int = 1
    tasks_per_node: int = 1
    gpus_per_node: Any = None
    mem_gb: float | None = None
    mem_per_gpu: str | None = None
    mem_per_cpu: str | None = None
    cpus_per_gpu: int | None = None
    gres: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    comment: str | None = None

    # name of the Slurm job
    name: str = "trainctl"

    # seconds before the time limit at which jobs are asked for a checkpoint
    signal_delay_s: int = 120

    # further options of sbatch
    additional_parameters: dict[str, Any] = field(default_factory=dict)

    # lines of shell that run before the agent of an allocation
    setup: list[str] | None = None

    # allocations at once
    array_parallelism: int = 256

    # jobs for which an allocation is used; null: as many as fit into its time
    jobs_per_allocation: int | None = None

    # how often a job that a time limit, a preemption or a lost node has ended goes on in another allocation
    max_num_timeout: int = 3

    # GPUs that each job gets, of those of its allocation; with several `nodes` it gets all of them, and starts its
    # ranks by srun
    gpus_per_job: int | None = None

    # jobs that run on each GPU at once
    jobs_per_gpu: int | None = None
