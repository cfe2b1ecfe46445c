"""The examples run as their docstrings say, on real data."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from example_runs import ENVIRONMENT, PATIENCE_S, answers, asked_beforehand, metric, run_example, start, until, wait

from trainctl.config.changelog import loads
from trainctl.config.yaml import loads as read
from trainctl.rundir.paths import RunDir, find_runs
from trainctl.rundir.status import state_of

pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.timeout(900)  # each starts the program two or three times, and frameworks are slow to import


class TestTorchDigits:
    @pytest.mark.slow
    def test_learns_digits_with_edits_under_its_cosine(self, tmp_path: Path) -> None:
        run = RunDir.at(tmp_path / "run")
        asked_beforehand(run, {"edits": {"optim.lr": 0.005, "model.dropout": 0.3}, "at": 151})
        run_example("torch_digits.py", tmp_path)
        assert answers(run) == [("applied", 151)]
        rates = metric(run, "lr")
        assert rates[1] == 0.01
        assert rates[151] == pytest.approx(0.0025)  # half of the way down, and half of it
        assert len(rates) == 300
        assert read(run.result.read_text())["value"] > 0.9

    @pytest.mark.slow
    def test_goes_on_from_a_checkpoint_as_though_it_had_not_been_stopped(self, tmp_path: Path) -> None:
        edit = {"edits": {"optim.lr": 0.02, "optim.weight_decay": 0.05}, "at": 30}
        whole, stopped = tmp_path / "whole", tmp_path / "stopped"
        asked_beforehand(RunDir.at(whole / "run"), edit)
        stops = [{"action": "checkpoint", "at": 40}, {"action": "stop", "at": 45}]
        asked_beforehand(RunDir.at(stopped / "run"), edit, *stops)
        settings = ["steps=80", "trainctl.seed=7"]
        expected = metric(run_example("torch_digits.py", whole, *settings), "loss")
        run = run_example("torch_digits.py", stopped, *settings)
        assert max(metric(run, "loss")) == 45
        assert (run.path / "checkpoint.pt").exists()
        resumed = metric(run_example("torch_digits.py", stopped, *settings), "loss")
        assert resumed == expected
        changelog = loads(run.changelog.read_text(), source="run")
        assert [edit.step for edit in changelog.edits] == [30]


class TestBatchSize:
    """An edit of the batch size waits for the epoch, is recorded with its first step, and is followed from there on."""

    @pytest.mark.slow
    def test_of_a_data_loader(self, tmp_path: Path) -> None:
        run = RunDir.at(tmp_path / "run")
        asked_beforehand(run, {"edits": {"batch_size": 256}, "at": 40})
        run_example("loader_digits.py", tmp_path, "epochs=4")
        assert answers(run) == [("applied", 59)]  # 29 steps an epoch
        sizes = metric(run, "batch")
        assert (sizes[57], sizes[59], max(sizes)) == (64, 256, 2 * 29 + 2 * 8)
        assert [(edit.step, edit.values) for edit in loads(run.changelog.read_text()).edits] == [
            (59, {"batch_size": 256})
        ]
        assert read(run.progress.read_text())["total"] == 74

    @pytest.mark.slow
    def test_of_lightning(self, tmp_path: Path) -> None:
        pytest.importorskip("lightning", reason="Lightning is not installed")
        run = RunDir.at(tmp_path / "run")
        asked_beforehand(run, {"edits": {"batch_size": 64}, "at": 30})
        run_example("lightning_digits.py", tmp_path, "epochs=4")
        assert answers(run) == [("applied", 45)]  # 22 steps an epoch
        assert max(metric(run, "loss")) == 2 * 22 + 2 * 11
        assert read(run.progress.read_text())["total"] == 66


class TestAccelerateDigits:
    @pytest.fixture(autouse=True)
    def needs_accelerate(self) -> None:
        pytest.importorskip("accelerate", reason="Accelerate is not installed")

    @pytest.mark.slow
    def test_learns_digits_on_one_rank(self, tmp_path: Path) -> None:
        run = run_example("accelerate_digits.py", tmp_path)
        assert read(run.result.read_text())["value"] > 0.9

    @pytest.mark.slow
    def test_ranks_that_accelerate_launches_follow_one_session(self, tmp_path: Path) -> None:
        run = RunDir.at(tmp_path / "run")
        asked_beforehand(run, {"edits": {"optim.lr": 0.005, "dropout": 0.3}, "at": 20}, {"action": "stop", "at": 30})
        launched = [
            "--multi_gpu",
            "--num_processes=2",
            "--num_machines=1",
            "--mixed_precision=no",
            "--dynamo_backend=no",
        ]
        by = ("-m", "accelerate.commands.launch", *launched, "--main_process_port=0")
        run_example("accelerate_digits.py", tmp_path, by=by)
        assert answers(run) == [("applied", 20), ("applied", 30)]
        rates = metric(run, "lr")
        assert rates[20] / rates[19] == pytest.approx(0.5, rel=0.02)
        assert max(metric(run, "loss")) == 58  # two epochs of 29 batches for each rank
        assert [found.name for found in find_runs(tmp_path)] == ["run"]


class TestLightningDigits:
    @pytest.fixture(autouse=True)
    def needs_lightning(self) -> None:
        pytest.importorskip("lightning", reason="Lightning is not installed")

    @pytest.mark.slow
    @pytest.mark.parametrize("ranks", [pytest.param(1, marks=pytest.mark.long), 2])
    def test_killed_run_ends_with_the_weights_of_one_that_was_not_killed(self, tmp_path: Path, ranks: int) -> None:
        edits = tmp_path / "edits.yaml"
        edits.write_text(
            f"""
            0: {{optim: {{lr: 0.01, weight_decay: 0.01}}, model: {{dropout: 0.1}}}}
            {30 // ranks}: {{optim: {{lr: 0.02, weight_decay: 0.1}}}}
            {50 // ranks}: {{model: {{dropout: 0.4}}}}
            {70 // ranks}: {{optim: {{lr: 0.01}}}}
            """
        )
        settings = [f"trainctl.replay={edits}", "trainctl.drift=allow", "trainctl.seed=7"]
        settings += ["epochs=4", f"devices={ranks}", "hydra.run.dir=run"]
        whole = run_example("lightning_digits.py", tmp_path / "whole", *settings)
        run = RunDir.at(tmp_path / "killed" / "run")
        asked_beforehand(run, {"action": "pause", "at": 58 // ranks})
        process = start("lightning_digits.py", tmp_path / "killed", *settings)
        until(lambda: ("applied", 58 // ranks) in (answers(run) if run.events.exists() else ()), process)
        process.kill()
        process.communicate()
        assert state_of(run) == "interrupted"
        assert (run.path / "checkpoints" / "last.ckpt").exists()
        wait(start("lightning_digits.py", tmp_path / "killed", *settings))
        for name in ("lr", "loss", "accuracy", "fingerprint"):
            assert metric(run, name) == metric(whole, name)
        assert len(metric(run, "loss")) == 88 // ranks
        assert len(metric(run, "fingerprint")) == 1
        assert read(run.result.read_text())["value"] > 0.8

    @pytest.mark.slow
    def test_ranks_that_lightning_starts_in_jobs_on_slots_follow_the_session_of_their_job(self, tmp_path: Path) -> None:
        root = tmp_path / "outputs/lightning_digits"
        edited = RunDir.at(root / "OptimLr_0.02")
        asked_beforehand(edited, {"edits": {"model.dropout": 0.3, "optim.lr": 0.005}, "at": 15})
        overrides = ["-m", "optim.lr=0.01,0.02", "devices=2", "epochs=2", "hydra.launcher.slots=1"]
        wait(start("lightning_digits.py", tmp_path, *overrides))
        made = sorted(path.name for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
        assert made == ["OptimLr_0.01", "OptimLr_0.02"]  # no rank has made another
        for run in find_runs(tmp_path):
            assert state_of(run) == "done"
            assert "were not seeded" not in run.log.read_text()  # the other rank has the seed of the first
            assert len(metric(run, "loss")) == 22  # half as many as on one rank
            assert (run.path / "checkpoints" / "last.ckpt").exists()
        rates = metric(edited, "lr")
        assert rates[15] / rates[14] == pytest.approx(0.25, rel=0.2)
        assert answers(edited) == [("applied", 15)]


class TestTransformersPoem:
    @pytest.fixture(autouse=True)
    def needs_transformers(self) -> None:
        pytest.importorskip("transformers", reason="Transformers is not installed")
        pytest.importorskip("accelerate", reason="Accelerate is not installed")

    @pytest.mark.slow
    @pytest.mark.long
    def test_goes_on_from_a_checkpoint_as_though_it_had_not_been_stopped(self, tmp_path: Path) -> None:
        edits = tmp_path / "edits.yaml"
        edits.write_text(
            """
            0: {optim: {lr: 0.01, weight_decay: 0.01}}
            8: {optim: {lr: 0.02, weight_decay: 0.1}}
            25: {optim: {lr: 0.01}}
            """
        )
        settings = [f"trainctl.replay={edits}", "trainctl.drift=allow"]
        settings += ["trainctl.seed=7", "steps=30", "save_steps=10", "accumulate=2", "batch_size=4"]
        whole = run_example("transformers_poem.py", tmp_path / "whole", *settings)
        run = RunDir.at(tmp_path / "killed" / "run")
        asked_beforehand(run, {"action": "pause", "at": 17})
        process = start("transformers_poem.py", tmp_path / "killed", "hydra.run.dir=run", *settings)
        until(lambda: ("applied", 17) in (answers(run) if run.events.exists() else ()), process)
        process.kill()
        process.communicate()
        wait(start("transformers_poem.py", tmp_path / "killed", "hydra.run.dir=run", *settings))
        for name in ("lr/0", "lr/1", "loss", "learning_rate", "fingerprint"):  # one group of two has no decay
            assert metric(run, name) == metric(whole, name)
        rates = metric(run, "learning_rate")
        assert rates == pytest.approx(metric(run, "lr/0"))
        assert rates[9] == pytest.approx(0.02 * (1 - 8 / 30))
        assert read(run.result.read_text())["value"] < metric(run, "loss")[1]

    @pytest.mark.slow
    def test_edited_and_killed_run_is_resumed_and_verified(self, tmp_path: Path) -> None:
        settings = ["hydra.run.dir=run", "steps=24", "save_steps=8", "accumulate=1", "batch_size=4"]
        run = RunDir.at(tmp_path / "run")
        asked_beforehand(run, {"edits": {"optim.lr": 0.02}, "at": 5}, {"action": "pause", "at": 19})
        process = start("transformers_poem.py", tmp_path, *settings)
        until(lambda: ("applied", 19) in (answers(run) if run.events.exists() else ()), process)
        process.kill()
        process.communicate()
        wait(start("transformers_poem.py", tmp_path, *settings))
        assert [edit.values for edit in loads(run.changelog.read_text()).edits] == [{"optim.lr": 0.02}]
        command = [sys.executable, "-c", "from trainctl.cli import main; main()", "replay", "run", "--verify"]
        verified = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True,
            timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert verified.returncode == 0, verified.stdout + verified.stderr[-3000:]
        assert "identical: " in verified.stdout
