from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import assume, example, given
from hypothesis import strategies as st

from trainctl.config.naming import current_swept, job_name, naming_swept
from trainctl.config.overrides import override_key, parse_overrides, swept_keys

WORDS = ("lr", "norm", "x", "n", "no", "b", "base", "optim", "weight", "decay", "model", "a1", "f00dcafe")
# Characters that names are made of come often, so that different overrides come close to each other.
TEXTS = st.one_of(
    st.text("ab1-_.,=", max_size=8),
    st.sampled_from(["None", "none", "null", "True", "true", "TRUE", "ReLU", "relu", "é", "🚀", "", ".", ".."]),
    st.sampled_from(["1", "1.0", "1e-4", "1E-4", "'1'", '"1"', "1-B_2", "1-b_2", "x-00000000", "-x", "--help"]),
    st.sampled_from(["[1,2]", "[1, 2]", "1,2", "{a:1}", "/data/imagenet", "a b", "a\\ b", "'a b'", "a\nb"]),
    st.sampled_from(["${model.depth}", "~", "*", "$(reboot)", "; rm -rf ."]),
    st.text(max_size=20),
    st.text("aB/é", min_size=300, max_size=300),
)  # fmt: skip
KEYS = st.builds(
    lambda words, separators, package: "".join(map("".join, zip(words, [*separators, ""], strict=False))) + package,
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3),
    st.lists(st.sampled_from("._/-"), min_size=3, max_size=3).map(tuple),
    st.sampled_from(["", "", "", "@backup", "@_global_", ".0", "-x"]),
)
OVERRIDES = st.builds(
    lambda mark, key, value: f"{mark}{key}" if mark == "~" and not value else f"{mark}{key}={value}",
    st.sampled_from(["", "", "+", "++", "~"]), KEYS, TEXTS,
)  # fmt: skip


def folded(key: str) -> str:
    """Return what is left of a key without case and separators."""
    return re.sub(r"[._/-]", "", key).lower()


def meaning(overrides: Sequence[str]) -> list[str]:
    """Return what a set of overrides says, sorted: without `+` and `++`, truth and numbers in one form."""
    return sorted(lowered(text.lstrip("+")) for text in overrides)


def lowered(text: str) -> str:
    """Return an override with truth, and a number with an exponent, in their one form."""
    text = re.sub(r"(?i)(?<==)(['\"]?)([+-]?\d+(\.\d*)?e[+-]?\d{1,3})\1\Z", lambda match: match[2].lower(), text)
    return re.sub(r"(?i)(?<==)(true|false)\Z", lambda match: match[0].lower(), text)


def sets_of_overrides() -> st.SearchStrategy[list[str]]:
    return st.lists(OVERRIDES, min_size=1, max_size=4, unique_by=lambda text: folded(override_key(text)))


def assert_legal(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.,=+@%-]*", name)
    assert shlex.quote(name) == name
    assert 0 < len(name.encode()) <= 120
    assert name not in {".", ".."}
    assert name[0] not in ".-"


@given(sets_of_overrides(), st.booleans())
def test_name_is_always_a_legal_path_component(overrides: list[str], is_group: bool) -> None:
    assert_legal(job_name(overrides, groups={override_key(overrides[0])} if is_group else ()))


@given(st.lists(st.text(max_size=30), max_size=4))
@example(["=."])
@example(["-=.."])
@example(["é=-"])
@example(["~", "="])
def test_name_of_any_texts_at_all_is_legal(overrides: list[str]) -> None:
    assert_legal(job_name(overrides))


@given(sets_of_overrides(), st.randoms(use_true_random=False), st.sets(st.sampled_from(WORDS)))
def test_name_does_not_depend_on_the_order_of_keys(overrides: list[str], random: object, groups: set[str]) -> None:
    shuffled = list(overrides)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert job_name(shuffled, groups=groups) == job_name(overrides, groups=groups)


def test_order_counts_where_one_key_is_given_twice() -> None:
    assert job_name(["x=1", "x=2"]) != job_name(["x=2", "x=1"])


@given(sets_of_overrides(), sets_of_overrides())
@example(["x=1"], ["x='1'"])
@example(["x='1'"], ['x="1"'])
@example(["x=1-b_2"], ["x=1", "b=2"])
@example(["x=1-b"], ["x=1", "b="])
@example(["norm=1"], ["~rm=1"])
@example(["x=a/b"], ["x=a_b"])
@example(["x=é"], ["x="])
@example(["x=" + "a" * 300], ["x=" + "a" * 299 + "b"])
@example(["x=None"], ["x=none"])
def test_different_overrides_never_have_names_that_differ_only_in_case(one: list[str], other: list[str]) -> None:
    assume(meaning(one) != meaning(other))
    keys = {override_key(text) for text in [*one, *other]}
    assume(len({folded(key) for key in keys}) == len(keys))  # keys of one config that only a person could tell apart
    assert job_name(one).lower() != job_name(other).lower()


@given(KEYS, st.lists(TEXTS, min_size=2, max_size=2, unique=True))
@example("lr.", ["1e-4", "1E-4"])
@example("lr", ["1e-4", "'1E-4'"])
def test_different_values_of_one_key_have_different_names(key: str, values: list[str]) -> None:
    assume(lowered(f"={values[0]}") != lowered(f"={values[1]}"))
    one, other = (job_name([f"{key}={value}"], swept={key}) for value in values)
    assert one.lower() != other.lower()


@pytest.mark.parametrize("plus", ["+", "++"])
def test_how_a_key_is_overridden_is_not_named(plus: str) -> None:
    assert job_name([f"{plus}optim.lr=0.1"]) == job_name(["optim.lr=0.1"]) == "OptimLr_0.1"
    assert job_name([f"{plus}act=ReLU"]) == job_name(["act=ReLU"])


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["lr=0.1", "norm=new"], "Norm_new-Lr_0.1"),
        (["optim.weight_decay=1e-4"], "OptimWeightDecay_1e-4"),
        (["db/engine=mysql"], "DbEngine_mysql"),
        (["model=resnet-50"], "Model_resnet-50"),
        (["model=bert-base-uncased"], "Model_bert-base-uncased"),
        (["flag=true", "other=null"], "Flag_true-Other_null"),
        (["flag=True", "early-stop=FALSE"], "EarlyStop_false-Flag_true"),
        (["x=-1"], "X_-1"),
        (["trainctl.panel.port=8000", "trainctl.seed=3"], "TrainctlSeed_3"),
        (["trainctl.panel.port=8000"], "default"),
        ([], "default"),
    ],
)
def test_name_shows_keys_and_values_as_written(overrides: list[str], name: str) -> None:
    assert job_name(overrides, groups={"norm"}) == name


@pytest.mark.parametrize(
    ("override", "readable"),
    [
        ("act=ReLU", "Act_ReLU"),
        ("x=None", "X_None"),
        ("x='True'", "X_True"),
        ("db@backup=mysql", "DbBackup_mysql"),
        ("~opt", "NoOpt"),
        ("betas=[0.9,0.999]", "Betas_0.9,0.999"),
        ("data=/data/imagenet", "Data_data_imagenet"),
        ("text='one two'", "Text_onetwo"),
        ("x='é🚀'", "X"),
        ("LR=0.1", "LR_0.1"),
        ("x=" + "a" * 300, "X_" + "a" * 109),
        ("trainctl.replay=/tmp/runs/of/me/Norm_new-Lr_0.1", "TrainctlReplay_Norm_new-Lr_0.1"),
        ("trainctl.replay=outputs/train/X_1/", "TrainctlReplay_X_1"),
        ("trainctl.replay=outputs/train/X_1/changelog.yaml", "TrainctlReplay_X_1"),
    ],
)
def test_name_that_says_not_all_has_a_short_hash(override: str, readable: str) -> None:
    assert re.fullmatch(re.escape(readable) + "-[0-9a-f]{8}", job_name([override]))


def test_only_swept_keys_are_named() -> None:
    assert job_name(["lr=0.1", "epochs=3"], swept={"lr"}) == "Lr_0.1"
    assert job_name(["lr=0.1", "epochs=3"], swept=()) == "Epochs_3-Lr_0.1"
    assert job_name(["lr=0.1", "epochs=3"], swept={"not", "there"}) == "Epochs_3-Lr_0.1"


def test_swept_keys_are_those_that_the_sweep_does_not_fix() -> None:
    assert swept_keys(parse_overrides(["norm=new", "+db@src=x", "epochs=3"]), {"norm=new,batch", "epochs=3"}) == {
        "norm",
        "db@src",
    }


def test_swept_keys_are_known_inside_the_block_only() -> None:
    assert current_swept() is None
    with naming_swept(frozenset({"lr"})):
        assert current_swept() == {"lr"}
    assert current_swept() is None


@pytest.mark.parametrize("text", ["x=1", "+x=1", "++x=1", "~x", "~x=1", "db@backup=a", "a.b.0=1", "a/b@c.d=e"])
def test_key_of_an_override_is_the_one_that_hydra_sees(text: str) -> None:
    parsed = OverridesParser.create().parse_override(text)
    package = f"@{parsed.package}" if parsed.package else ""
    assert override_key(text) == parsed.key_or_group + package
