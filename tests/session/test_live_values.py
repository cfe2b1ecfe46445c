from __future__ import annotations

from enum import Enum

import pytest
from omegaconf import OmegaConf

from trainctl.session.values import build


class Act(Enum):
    RELU = 1


def test_now_shows_every_value_resolved() -> None:
    config = OmegaConf.create({
        "optim": {"lr": 0.1, "betas": [0.9, "${optim.lr}"]}, "end": "${optim.lr}", "same": "${optim}", "act": Act.RELU,
        "weight-decay": 0.5, 7: "x", "layers": [{"size": 3}], "none": None, "empty": {}, "hydra": {"x": 1},
    })  # fmt: skip
    now = build(config)
    assert (now.optim.lr, now.optim.betas, now.end, now.same.lr) == (0.1, [0.9, 0.1], 0.1, 0.1)
    assert (now.act, now["weight-decay"], now[7], now.layers[0].size, now.none) == (Act.RELU, 0.5, "x", 3, None)
    assert (len(now.empty), "hydra" in now, "optim" in now) == (0, False, True)
    assert now == build(config)
    assert now != build(OmegaConf.create({}))


def test_now_leaves_out_what_has_no_value_and_says_so() -> None:
    now = build(OmegaConf.create({"lr": 0.1, "must": "???", "gone": "${nowhere}", "dir": "${hydra:job.name}"}))
    assert list(now) == ["lr"]
    with pytest.raises(AttributeError, match=r"live\.now has no 'must' here, or it is missing .*; keys are lr"):
        _ = now.must
    with pytest.raises(KeyError, match="gone"):
        now["gone"]
