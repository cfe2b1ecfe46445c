from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError

from trainctl.config.pairs import Pairs
from trainctl.errors import IncompatibleError, MissingError, PairError

CONFIGS = {
    "config.yaml": "defaults: [task: sequence, model: rnn, _self_]\nlr: 0.1\nfast: 0.5\n",
    "task/sequence.yaml": "name: sequence\nwidth: 8\n",
    "task/image.yaml": "name: image\nwidth: 64\n",
    "model/rnn.yaml": "name: rnn\ninputs: ???\nhidden: 16\ncell: {kind: gru, bias: true}\nlayers: [1, 2]\n",
    "model/mlp.yaml": "name: mlp\nhidden: 32\n",
}


@pytest.fixture(autouse=True)
def running(monkeypatch: pytest.MonkeyPatch) -> HydraConfig:
    """Hydra's running config, of no application yet: an earlier test may have left another."""
    fresh: HydraConfig = type.__call__(HydraConfig)
    monkeypatch.setitem(Singleton._instances, HydraConfig, fresh)
    return fresh


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    for name, text in CONFIGS.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def composed(conf: Path, *overrides: str) -> tuple[DictConfig, DictConfig]:
    with initialize_config_dir(str(conf), version_base=None):
        config = compose("config", list(overrides), return_hydra_config=True)
    hydra = config.hydra
    task = config.copy()
    with open_dict(task):
        del task["hydra"]
    return task, hydra


def adapting(**options: Any) -> Pairs:
    pairs = Pairs("task", "model", **options)

    @pairs.register("sequence", "rnn")
    def configure(cfg: DictConfig) -> None:
        cfg.model.inputs = cfg.task.width
        cfg.model.hidden = 99
        cfg.model.cell = {"kind": "lstm", "bias": False}
        cfg.model.layers = [7]
        cfg.lr = 0.9

    pairs.allow("*", "mlp")
    return pairs


def test_pair_stands_over_files_and_leaves_the_given_config_alone(conf: Path) -> None:
    config, hydra = composed(conf)
    adapted = adapting().configure(config, hydra)
    assert (adapted.model.inputs, adapted.model.hidden, adapted.lr) == (8, 99, 0.9)
    assert (config.model.hidden, config.lr) == (16, 0.1)
    assert OmegaConf.is_missing(config.model, "inputs")


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("model.hidden=3", "model.hidden", 3),
        ("model.hidden=16", "model.hidden", 16),  # given, though it is what the file says
        ("model.layers=[4,5]", "model.layers", [4, 5]),
        ("model.layers=[]", "model.layers", []),
        ("model.cell={kind:rnn}", "model.cell", {"kind": "rnn", "bias": False}),
        ("model.cell.bias=true", "model.cell", {"kind": "lstm", "bias": True}),
        ("lr=${fast}", "lr", 0.5),
        ("++lr=null", "lr", None),
        ("+model.extra={a:{b:1}}", "model.extra", {"a": {"b": 1}}),
        ("model=rnn", "model.hidden", 99),
    ],
)
def test_command_line_stands_over_the_pair(conf: Path, override: str, key: str, value: Any) -> None:
    config, hydra = composed(conf, override)
    assert OmegaConf.select(adapting().configure(config, hydra), key) == value


def test_earlier_run_stands_over_the_pair_and_under_the_command_line(conf: Path) -> None:
    config, hydra = composed(conf, "model.hidden=3")
    adapted = adapting().adapt(config, hydra, ["lr", "model.hidden", "model.inputs"])
    assert (adapted.lr, adapted.model.hidden, adapted.model.layers) == (0.1, 3, [7])
    assert OmegaConf.is_missing(adapted.model, "inputs")


def test_task_that_asks_for_it_itself_has_its_command_line_respected(conf: Path, running: HydraConfig) -> None:
    config, hydra = composed(conf, "model.hidden=3")
    running.cfg = OmegaConf.create({"hydra": hydra})  # type: ignore[assignment]  # Hydra's own is typed
    adapted = adapting().configure(config)
    assert (adapted.model.hidden, adapted.lr) == (3, 0.9)


def test_added_option_is_no_value(conf: Path) -> None:
    (conf / "extra").mkdir()
    (conf / "extra" / "x.yaml").write_text("# @package _global_\nseed: 3\n")
    config, hydra = composed(conf, "+extra=x")
    assert "extra" not in adapting().configure(config, hydra)


def test_key_that_the_command_line_deleted_stays_deleted(conf: Path) -> None:
    config, hydra = composed(conf, "~model.hidden")
    pairs = Pairs("task", "model")

    @pairs.register("sequence", "rnn")
    def configure(cfg: DictConfig) -> None:
        cfg.model.inputs = 1
        with open_dict(cfg):
            cfg.model.hidden = 5

    assert "hidden" not in pairs.configure(config, hydra).model


def test_reference_of_the_command_line_stays_a_reference(conf: Path) -> None:
    config, hydra = composed(conf, "lr=${fast}")
    adapted = adapting().configure(config, hydra)
    adapted.fast = 0.25
    assert adapted.lr == 0.25


def test_pair_over_the_command_line_has_the_last_word(conf: Path) -> None:
    config, hydra = composed(conf, "model.hidden=3", "lr=5")
    adapted = adapting(over="command_line").configure(config, hydra)
    assert (adapted.model.hidden, adapted.lr) == (99, 0.9)
    with pytest.raises(PairError, match="over='cli': a pair stands over 'files' or over the 'command_line' too"):
        Pairs("task", "model", over="cli")  # type: ignore[arg-type]


def test_pair_that_is_only_allowed_stays_as_it_is(conf: Path) -> None:
    config, hydra = composed(conf, "task=image", "model=mlp")
    assert adapting().configure(config, hydra) == config


def test_pair_that_was_not_registered_is_refused_with_those_that_were(conf: Path) -> None:
    config, hydra = composed(conf, "task=image", "model=rnn")
    with pytest.raises(
        IncompatibleError, match=r"^task=image and model=rnn do not go together; task=image goes with model=mlp$"
    ):
        adapting().configure(config, hydra)
    with pytest.raises(PairError, match=r"nothing is registered for task=image$"):
        Pairs("task", "model").check("image", "rnn")


def test_missing_values_are_listed_in_one_error(conf: Path) -> None:
    pairs = Pairs("task", "model")
    pairs.allow("*", "*")
    config, hydra = composed(conf, "+model.outputs=???")
    with pytest.raises(MissingError, match=r"these values are missing: model\.inputs, model\.outputs$"):
        pairs.configure(config, hydra)


def test_function_may_return_another_config(conf: Path) -> None:
    pairs = Pairs("task", "model")
    pairs.register("sequence", "rnn")(lambda cfg: OmegaConf.merge(cfg, {"model": {"inputs": 3}}))
    config, hydra = composed(conf)
    assert pairs.configure(config, hydra).model.inputs == 3
    assert OmegaConf.is_missing(config.model, "inputs")


def test_function_that_fails_is_named(conf: Path) -> None:
    config, hydra = composed(conf)
    pairs = Pairs("task", "model")

    @pairs.register("sequence", "rnn")
    def misspelt(cfg: DictConfig) -> None:
        cfg.model.hiden = 3

    with pytest.raises(
        PairError, match=r"task=sequence and model=rnn: their function .*misspelt failed: .*hiden"
    ) as caught:
        pairs.configure(config, hydra)
    assert isinstance(caught.value.__cause__, ConfigAttributeError)
    broken = Pairs("task", "model")
    broken.register("sequence", "rnn")(lambda cfg: {}["vocabulary"])
    with pytest.raises(PairError, match=r"<lambda> failed: KeyError: 'vocabulary' \(.*test_pairs\.py line \d+\)$"):
        broken.configure(config, hydra)
    wrong = Pairs("task", "model")
    wrong.register("sequence", "rnn")(lambda cfg: 3)
    with pytest.raises(PairError, match="returned int, not a config"):
        wrong.configure(config, hydra)


def test_options_are_known_without_hydra() -> None:
    pairs = Pairs("task", "model")
    pairs.allow("image", "mlp")
    config = OmegaConf.create({"task": {"name": "image"}, "model": "mlp"})
    assert pairs.chosen(config) == ("image", "mlp")
    assert pairs.configure(config) == config
    with pytest.raises(
        PairError, match=r"the group model this is cannot be determined: Hydra chose none, and model\.name"
    ):
        pairs.chosen(OmegaConf.create({"task": "image", "model": {"size": 3}}))


def test_rule_that_says_most_is_taken() -> None:
    pairs = Pairs("task", "model")
    pairs.allow("*", "*")
    pairs.register("digits*", "*")(lambda cfg: None)
    pairs.allow("digits", "rnn")
    assert pairs.fit("digits_sequence", "rnn") == "adapted"
    assert pairs.fit("digits", "rnn") == "as is"
    assert pairs.fit("text", "rnn") == "as is"
    pairs.allow("*", "digits*")
    with pytest.raises(PairError, match=r"fits \(digits\*, \*\) and \(\*, digits\*\), which say equally much"):
        pairs.fit("digits", "digits")
    with pytest.raises(PairError, match=r"the pair \(digits, rnn\) of task and model is there already"):
        pairs.allow("digits", "rnn")


def test_matrix_has_a_row_for_each_of_the_first_group() -> None:
    assert adapting().matrix(["sequence", "image"], ["rnn", "mlp"]) == {
        "sequence": {"rnn": "adapted", "mlp": "as is"},
        "image": {"rnn": "not compatible", "mlp": "as is"},
    }


def test_pair_is_named_with_its_function() -> None:
    pairs = Pairs("task", "model")

    @pairs.register("digits", "rnn")
    def for_rows(config: DictConfig) -> None:
        """Nothing."""

    pairs.allow("digits", "mlp")
    config = OmegaConf.create({"task": "digits", "model": "rnn"})
    assert pairs.said_of(config, None) == f"task=digits model=rnn ({__name__}.{for_rows.__qualname__})"
    config.model = "mlp"
    assert pairs.said_of(config, None) == "task=digits model=mlp"
