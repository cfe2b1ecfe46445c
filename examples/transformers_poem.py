"""Transformers: a tiny GPT-2, randomly initialised, learns a poem by its letters, its learning rate under your hand.

    python examples/transformers_poem.py                         one run, with its page
    trainctl set RUN optim.lr=0.003                              while it trains; the linear decay goes on, scaled
    trainctl do RUN checkpoint                                   saved where the Trainer saves its own

The same command in the same run dir (`hydra.run.dir=RUN`) goes on from the last checkpoint if there is one.
"""

from __future__ import annotations

from pathlib import Path

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

import trainctl
from trainctl.frameworks.transformers import TrainctlTrainerCallback

POEM = Path(__file__).with_name("ozymandias.txt")
LENGTH = 64


class Letters(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """All pieces of the poem of one length."""

    def __init__(self, text: str) -> None:
        self.letters = sorted(set(text))
        self.data = torch.tensor([self.letters.index(letter) for letter in text])

    def __len__(self) -> int:
        return len(self.data) - LENGTH

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        piece = self.data[index : index + LENGTH]
        return {"input_ids": piece, "labels": piece}


@hydra.main(version_base=None, config_path="conf", config_name="transformers_poem")
def main(cfg: DictConfig) -> float:
    live = trainctl.live(cfg)
    output = Path(HydraConfig.get().runtime.output_dir) / "checkpoints"
    data = Letters(POEM.read_text())
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(data.letters), n_positions=LENGTH, n_embd=cfg.width, n_layer=2, n_head=2, use_cache=False
        )
    )
    arguments = TrainingArguments(
        output_dir=str(output),
        max_steps=cfg.steps,
        per_device_train_batch_size=cfg.batch_size,
        gradient_accumulation_steps=cfg.accumulate,
        learning_rate=cfg.optim.lr,
        weight_decay=cfg.optim.weight_decay,
        seed=live.seed % 2**32,
        logging_steps=1,
        save_steps=cfg.save_steps,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    callback = TrainctlTrainerCallback(lr="optim.lr", weight_decay="optim.weight_decay")
    trainer = Trainer(model, arguments, train_dataset=data, callbacks=[callback])
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(output)) if output.exists() else None)
    live.fingerprint(model)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return sum(losses[-10:]) / len(losses[-10:])


if __name__ == "__main__":
    main()
