"""Ranks that are not PyTorch's agree by a function that the task gives: here through pipes, between processes."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from omegaconf import OmegaConf
from rank_processes import HERE, StartRanks, ask

from trainctl.errors import RankError, SettingError
from trainctl.rundir.paths import RunDir
from trainctl.session.api import live
from trainctl.session.ranks.protocol import Agreement, LoopFlags


def command(run: RunDir, *arguments: str) -> list[str]:
    return [sys.executable, str(HERE / "piped_app.py"), str(run.path), str(run.path.parent / "out0"), *arguments]


def test_ranks_without_torch_apply_edits_at_the_same_steps(start_ranks: StartRanks, run: RunDir) -> None:
    ask(run, {"lr": 0.2}, at=3)
    ask(run, {"lr": 0.3}, at=14)
    ask(run, action="stop", at=22)
    seen = start_ranks(1, command=command(run, "3", "1000")).wait()
    for rank in seen:
        assert rank["values"] == [[step, 0.1 if step < 3 else 0.2 if step < 14 else 0.3] for step in range(1, 23)]
        assert rank["edits"] == [[3, {"lr": 0.2}], [14, {"lr": 0.3}]]
        assert rank["calls"] == [1, 3, 6, 11, 14, 16, 21, 22]
        assert rank["seed"] == seen[0]["seed"]
    records = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [record["rank"] for record in records] == [0] * 22


def test_rank_without_torch_that_dies_ends_the_others_with_a_sentence(start_ranks: StartRanks, run: RunDir) -> None:
    ranks = start_ranks(1, command=command(run, "2", "1000000", "dies"))
    (seen,) = ranks.wait(check=False)
    assert seen["error"].startswith("the ranks of this run have lost each other at step")
    assert "BrokenPipeError" in seen["error"]


def test_rank_that_cannot_hear_of_edits_does_not_train(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    opened = live(OmegaConf.create({"lr": 0.1}), run_dir=run.path)
    with pytest.raises(SettingError, match=r"one of 2 ranks .* initialise torch.distributed .* agree="):
        opened.step()


def meeting_of_two(messages: list[bytes]) -> tuple[Agreement, Agreement]:
    """Return a speaker that puts its messages into a list, and a listener that takes them from there."""

    def speak(message: bytes) -> bytes:
        messages.append(message)
        return message

    return Agreement(speak, 10), Agreement(lambda _: messages.pop(0), 10)


def test_rank_that_missed_a_change_is_told_so() -> None:
    messages: list[bytes] = []
    speaker, listener = meeting_of_two(messages)
    speaker.begin(1)
    speaker.say(LoopFlags(stop=True, checkpoint=0, evaluate=0))
    speaker.end(None)
    del messages[0]
    with pytest.raises(RankError, match=r"step 1 and rank 0 at step 1 \(changes: 0, there 1\)"):
        list(listener.hear(1))


def test_message_that_says_nothing_new_is_three_integers() -> None:
    messages: list[bytes] = []
    speaker, listener = meeting_of_two(messages)
    for step in (1, 11, 21):
        speaker.begin(step)
        speaker.end(None if step == 21 else 1000)
        assert len(messages[0]) == 3 * 8
        heard: list[Any] = list(listener.hear(step))
        assert heard == []
        assert listener.next_step == speaker.next_step
    assert speaker.next_step == sys.maxsize
