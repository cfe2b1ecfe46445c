from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from trainctl import ScriptError, micro_config
from trainctl.micro_config import ConfigScript, ConfigScriptList, MetaConfig, convert_path, deep_replace, parse_args


def test_walk_through_of_micro_config_works_on_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its README's example, with scikit-learn's digits for wikitext, and only the imports changed."""
    torch = pytest.importorskip("torch")
    from sklearn.datasets import load_digits

    from trainctl.micro_config import ModelConfigScript

    loaded = []

    @dataclass
    class DigitsConfig(ConfigScript):
        f_path: str = "data/digits"
        max_len: int = 256

        def unroll(self, metaconfig: MetaConfig) -> Any:
            loaded.append(metaconfig.convert_path(self.f_path))
            data = load_digits()
            images = torch.tensor(data.data[: self.max_len] / 16, dtype=torch.float32)
            return torch.utils.data.TensorDataset(images, torch.tensor(data.target[: self.max_len]))

    @dataclass
    class HiddenConfig(ConfigScript):
        hidden_dim: int = 16

        def unroll(self, metaconfig: MetaConfig) -> Any:
            return self.hidden_dim

    @dataclass
    class NetConfig(ModelConfigScript):
        dataset: DigitsConfig = field(default_factory=DigitsConfig)
        hidden_config: HiddenConfig = field(default_factory=lambda: HiddenConfig(hidden_dim=16))

        def unroll(self, metaconfig: MetaConfig) -> Any:
            inputs = self.dataset.unroll(metaconfig)[0][0].numel()
            hidden = self.hidden_config.unroll(metaconfig)
            return torch.nn.Sequential(torch.nn.Linear(inputs, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 10))

    @dataclass
    class AdamWConfig(ConfigScript):
        lr: float = 1e-4

        def unroll(self, metaconfig: MetaConfig) -> Any:
            return lambda model: torch.optim.AdamW(model.parameters(), lr=self.lr)

    @dataclass
    class TrainLoop(ConfigScript):
        train_dataset: Any = None
        eval_datasets: Any = None
        model: Any = None
        optim: Any = None
        epochs: int = 10
        bsize: int = 32

        def unroll(self, metaconfig: MetaConfig) -> Any:
            print("using config:", asdict(self))
            held_out, seen_again = self.eval_datasets.unroll(metaconfig)
            dataset = self.train_dataset.unroll(metaconfig)
            model = self.model.unroll(metaconfig)
            optim = self.optim.unroll(metaconfig)(model)
            losses = []
            for _ in range(self.epochs):
                for images, labels in torch.utils.data.DataLoader(dataset, batch_size=self.bsize):
                    loss = torch.nn.functional.cross_entropy(model(images.to(metaconfig.device)), labels)
                    optim.zero_grad()
                    loss.backward()
                    optim.step()
                    losses.append(loss.item())
            assert seen_again is dataset
            assert len(held_out) == 32
            return model, losses

    train_dataset = DigitsConfig()
    script = TrainLoop(
        train_dataset=train_dataset,
        eval_datasets=ConfigScriptList([DigitsConfig(f_path="data/held_out", max_len=32), train_dataset]),
        model=NetConfig(checkpoint_path=None, strict_load=True, device="cpu", dataset=train_dataset),
        optim=AdamWConfig(lr=1e-2),
    )
    metaconfig = MetaConfig(project_root=str(tmp_path), verbose=True)
    script = deep_replace(script, **parse_args(["epochs=3", "bsize=16", "model.hidden_config.hidden_dim=32"]))
    model, losses = script.unroll(metaconfig)
    assert loaded == [str(tmp_path / "data/held_out"), str(tmp_path / "data/digits")]
    said = capsys.readouterr().out
    assert "using config: {'train_dataset': {'f_path': 'data/digits', 'max_len': 256}" in said
    assert "DigitsConfig: unrolled before" in said
    assert losses[-1] < losses[0]
    assert model[0].out_features == 32

    torch.save(model.state_dict(), tmp_path / "model.pt")
    again = NetConfig(checkpoint_path="model.pt", hidden_config=HiddenConfig(32)).unroll(metaconfig)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))
    with pytest.raises(ScriptError, match=r"NetConfig\.checkpoint_path=.*model\.pt: RuntimeError: .*size mismatch"):
        NetConfig(checkpoint_path="model.pt", hidden_config=HiddenConfig(8)).unroll(metaconfig)


def test_model_class_of_its_demo_loads_its_checkpoint(tmp_path: Path) -> None:
    """Its `base_configs.py` loads by overriding `meta_unroll`; random weights would pass for trained ones."""
    torch = pytest.importorskip("torch")

    @dataclass
    class DemoModel(ConfigScript):
        checkpoint_path: Any
        strict_load: bool
        device: Any

        def meta_unroll(unroll: Any) -> Any:
            def new_unroll(self: Any, metaconfig: Any) -> Any:
                if metaconfig.unrolled is None:
                    metaconfig.unrolled = {}
                if id(self) in metaconfig.unrolled:
                    return metaconfig.unrolled[id(self)]
                model = unroll(self, metaconfig).to(self.device)
                if self.checkpoint_path is not None:
                    path = metaconfig.convert_path(self.checkpoint_path)
                    model.load_state_dict(torch.load(path, map_location="cpu"), strict=self.strict_load)
                metaconfig.unrolled[id(self)] = model
                return model

            return new_unroll

    @dataclass
    class Net(DemoModel):
        dim: int = 3

        def unroll(self, metaconfig: MetaConfig) -> Any:
            return torch.nn.Linear(self.dim, 1)

    trained = torch.nn.Linear(3, 1)
    torch.save(trained.state_dict(), tmp_path / "model.pkl")
    script, meta = Net("model.pkl", True, "cpu"), MetaConfig(project_root=str(tmp_path))
    model = script.unroll(meta)
    assert torch.equal(model.weight, trained.weight)
    assert script.unroll(meta) is model
    with pytest.raises(FileNotFoundError, match=r"none\.pkl"):
        Net("none.pkl", True, "cpu").unroll(meta)


def test_names_of_all_versions_are_there() -> None:
    pytest.importorskip("torch")
    names = {
        *("MetaConfig", "ConfigScript", "ConfigScriptNoCache", "ConfigScriptList", "ConfigScriptDict"),
        *("ConfigScriptModel", "ModelConfigScript", "convert_path", "deep_replace", "parse_args"),
    }
    assert names <= set(micro_config.__all__)
    assert all(getattr(micro_config, name) for name in micro_config.__all__)
    assert (convert_path("a"), convert_path("/a"), convert_path(None)) == (str(Path.cwd() / "a"), "/a", None)
    with pytest.raises(AttributeError, match="has no attribute 'unrolls'"):
        micro_config.unrolls  # noqa: B018


def test_names_are_imported_without_torch() -> None:
    code = "import sys; from trainctl.micro_config import ConfigScript, deep_replace; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
