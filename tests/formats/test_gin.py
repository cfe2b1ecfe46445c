from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("gin")

from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

import trainctl
from trainctl.errors import SourceError
from trainctl.formats.gin import read_gin

FILE = """\
# a comment
WIDTH = 3          # a macro
train.lr = 1e-4
train.name = 'run # one'   # text with a comment sign
train.steps = 10
train.steps = 20
train.layers = [
    64,  # first
    %WIDTH,
]
train.options = {'a': (1, 2),
                 "b": None}
train.long = \\
    True
train.model = @Model()
train.make = @Model
Model.dim = %WIDTH
eval/Model.dim = 7
eval.model = @eval/Model()
optim.Adam.betas = (0.9, 0.99)
train.optim = @optim.Adam()
text.template = '${train.lr}'
"""


def test_bindings_become_nested_keys() -> None:
    found = read_gin(FILE, "x.gin")
    assert found["train"] == {
        "lr": 1e-4,
        "name": "run # one",
        "steps": 20,
        "layers": [64, "${WIDTH}"],
        "options": {"a": [1, 2], "b": None},
        "long": True,
        "model": "${Model}",
        "make": "${Model}",
        "optim": "${optim.Adam}",
    }
    config = OmegaConf.create(found)
    assert config.train.layers == [64, 3]
    assert config.Model.dim == 3
    assert config.eval.Model.dim == 7
    assert config.eval.model.dim == 7
    assert config.train.optim.betas == [0.9, 0.99]
    assert config.text.template == "${train.lr}"


def test_references_are_shared_by_build() -> None:
    found = read_gin("Model._target_ = 'collections.Counter'\na.m = @Model()\nb.m = @Model()", "x.gin")
    built = trainctl.build(OmegaConf.create(found))
    assert built.a.m is built.b.m


def test_what_cannot_be_carried_is_named_in_one_error() -> None:
    text = "import my.layers\ninclude 'base.gin'\na.b = %my.CONSTANT\nc.d = [1, @Unbound()]\ne.f = 1\n"
    with pytest.raises(SourceError) as caught:
        read_gin(text, "x.gin")
    assert str(caught.value) == (
        "x.gin has values that no config can hold: line 1: import my.layers; line 2: include 'base.gin'; "
        "line 3: %my.CONSTANT; line 4: @Unbound()"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("train.lr\n", r"x.gin, line 1: not gin: Couldn't parse statement, expected ':' or '='"),
        ("\na.b = [1,\n2\n", r"x.gin, line [34]: not gin: .*EOF in multi-line statement"),
        ("a.b = open('x')\n", r"x.gin, line 1: not gin: open is not a value; quote it if it is text$"),
        ("\na.b = {[1]: 2}\n", r"x.gin, line [23]: not a value of gin: a list or a dict is the key of a dict$"),
        ("a.b = " + 3000 * "[" + 3000 * "]" + "\n", r"x.gin, line 1: not "),
        ("a.b = {%C: 1}\nC = 2", r"x.gin has values that no config can hold: line 1: %C as a key"),
        ("a.b = 1\na.b.c = 2\n", r"x.gin: a.b.c is a value, and has keys"),
    ],
)
def test_what_is_no_gin_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence):
        read_gin(text, "x.gin")


def test_binding_blocks_are_bindings_too() -> None:
    assert read_gin("a/Model:\n  # of the encoder\n  dim = 3\n  depth = %D\nD = 2\n", "x.gin") == {
        "a": {"Model": {"dim": 3, "depth": "${D}"}},
        "D": 2,
    }


def test_nothing_of_a_gin_file_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "told_by_gin.py").write_text("raise SystemExit('imported')")
    (tmp_path / "base.gin").write_text("import told_by_gin\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    text = "import told_by_gin\nfrom told_by_gin import x as y\ninclude 'base.gin'\na.b = @told_by_gin.x()\n"
    with pytest.raises(SourceError, match=r"import x as y; line 3: include 'base\.gin'; line 4: @told"):
        read_gin(text, "x.gin")
    assert "told_by_gin" not in sys.modules


def test_without_gin_config_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gin", None)
    with pytest.raises(SourceError) as caught:
        read_gin("a.b = 1", "+from=gin/x.gin")
    assert str(caught.value) == "+from=gin/x.gin needs the package gin-config: pip install 'hydra-trainctl[gin]'"


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("a#%@'\"(é ", max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text("ab", max_size=2), children, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_value_of_python_comes_back(value: object) -> None:
    assert read_gin(f"a.b = {value!r}\n", "x.gin") == {"a": {"b": value}}


@given(st.lists(st.sampled_from([*"ab.=:/@%()[]{},'\"\\\n\t -1#\0\r", "import ", "include ", "\n  "])).map("".join))
def test_any_text_is_read_or_refused_in_a_sentence(text: str) -> None:
    try:
        assert isinstance(read_gin(text, "x.gin"), dict)
    except SourceError as error:
        assert "x.gin" in str(error)  # noqa: PT017
