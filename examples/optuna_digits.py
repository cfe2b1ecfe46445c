"""Optuna proposes, slots run: a search for the learning rate and decay of a softmax regression on digits.

python examples/optuna_digits.py -m         20 trials, two at a time
trainctl table outputs/optuna_digits --sort -result
"""

from __future__ import annotations

import hydra
import numpy as np
from omegaconf import DictConfig
from sklearn.datasets import load_digits

import trainctl


@hydra.main(version_base=None, config_path="conf", config_name="optuna_digits")
def main(cfg: DictConfig) -> float:
    live = trainctl.live(cfg)
    rng = np.random.default_rng(live.seed)
    images, labels = load_digits(return_X_y=True)
    images = images / 16
    is_test = np.arange(len(labels)) % 4 == 0
    train, targets = images[~is_test], np.eye(10)[labels[~is_test]]
    weights = np.zeros((64, 10))
    for _ in live.track(range(cfg.steps)):
        rows = rng.integers(len(train), size=64)
        scores = train[rows] @ weights
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        odds /= odds.sum(axis=1, keepdims=True)
        gradient = train[rows].T @ (odds - targets[rows]) / len(rows)
        weights -= cfg.lr * (gradient + cfg.decay * weights)
        live.log(loss=-np.log((odds * targets[rows]).sum(axis=1)).mean())
    hits = (images[is_test] @ weights).argmax(axis=1) == labels[is_test]
    return float(hits.mean())


if __name__ == "__main__":
    main()
