"""Train a small network on handwritten digits: the demo task of hydra-trainctl.

    python train.py                          one run
    python train.py -m norm=new,batch        a sweep: one process, one slot, one readable directory per job

While it trains, `trainctl set RUN optim.lr=0.02` or the run's page changes what is read from `cfg` below.
"""

from __future__ import annotations

import hydra
import numpy as np
from omegaconf import DictConfig

import trainctl
from digits import SGD, build_network, load_task, schedule_factor


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float:
    live = trainctl.live(cfg)
    rng = np.random.default_rng(live.seed)
    train, test = load_task(cfg.task.name)
    network = build_network(cfg.model, train, cfg.norm, rng)
    optimizer = SGD(network)

    for step in live.track(range(1, cfg.task.steps + 1)):
        batch = train.sample(cfg.task.batch_size, rng)
        loss, accuracy = network.backpropagate(batch)
        lr = cfg.optim.lr * schedule_factor(cfg.schedule, step / cfg.task.steps)
        optimizer.step(lr=lr, betas=cfg.optim.betas, weight_decay=cfg.optim.weight_decay)
        live.log(loss=loss, accuracy=accuracy)
        if step % cfg.task.eval_every == 0:
            live.log(test_accuracy=network.accuracy(test))
        if live.should_stop:
            break

    return network.accuracy(test)


if __name__ == "__main__":
    main()
