"""Which tasks and models of this directory go together, and what a pair needs: `trainctl.pairs` in config.yaml.

    trainctl pairs                                      the matrix, for train.py
    python train.py task=digits_sequence model=rnn      one of the pairs

A function is called for each job: keep what is slow to find out (functools.cache), and leave the GPU alone.
"""

from __future__ import annotations

from omegaconf import DictConfig

import trainctl

pairs = trainctl.Pairs("task", "model")

for task in ("digits", "parity", "wine"):
    for model in ("small", "deep", "wide", "linear"):
        pairs.allow(task, model)


@pairs.register("*_sequence", "rnn")
def for_steps(cfg: DictConfig) -> None:
    """A recurrent network reads as many values at a step as the task has there, and learns at a lower rate."""
    cfg.model.inputs = cfg.task.width
    cfg.optim.lr = 0.05


@pairs.register("*_sequence", "bag")
def for_the_mean(cfg: DictConfig) -> None:
    cfg.model.inputs = cfg.task.width
