from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainctl.config.keys import nested
from trainctl.errors import SourceError
from trainctl.formats.ini import read_ini

PREFIGURE = """\
[DEFAULTS]

# name of the run
name = my run

# training data directory
training_dir = "/data/train"

# the batch size,
# per device
batch_size = 8
lr = 1e-4
Seed = None
use_ema = True
betas = (0.9, 0.99)
url = http://localhost:80/x?a=b
percent = 50%
[model]
; how wide
width: 3
deep.depth = 2
layers = [1,
    2]
"""


def test_file_of_prefigure_is_read_with_its_help() -> None:
    ini = read_ini(PREFIGURE, "defaults.ini")
    assert ini.values == {
        "name": "my run",
        "training_dir": "/data/train",
        "batch_size": 8,
        "lr": 1e-4,
        "Seed": None,
        "use_ema": True,
        "betas": [0.9, 0.99],
        "url": "http://localhost:80/x?a=b",
        "percent": "50%",
        "model": {"width": 3, "deep": {"depth": 2}, "layers": [1, 2]},
    }
    assert ini.help == {
        "name": "name of the run",
        "training_dir": "training data directory",
        "batch_size": "the batch size, per device",
        "model.width": "how wide",
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", ""),
        ("1", 1),
        ("-1.5", -1.5),
        ("'1'", "1"),
        ("true", "true"),
        ("{'a': [1, None]}", {"a": [1, None]}),
        ("{1, 2}", "{1, 2}"),
        ("b'x'", "b'x'"),
        ("1+2j", "1+2j"),
        ("__import__('os')", "__import__('os')"),
        ("${lr}", "${lr}"),
    ],
)
def test_value_is_a_literal_or_text(text: str, value: object) -> None:
    found = read_ini(f"[DEFAULTS]\nkey = {text}\n", "x.ini").values["key"]
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "# of a run\nlr = 1\n[model]\n",
            r"x.ini, line 2: 'lr = 1' stands above the first \[section\]; keys of the whole .* below \[DEFAULTS\]",
        ),
        ("[DEFAULTS\nlr = 1\n", r"x.ini, line 1: '\[DEFAULTS' stands above the first \[section\]"),
        (
            "[DEFAULTS]\n'lr'\nn\n",
            r"""x.ini, line 2: "'lr'" is not a \[section\], `key = value` or a comment \(# or ;\)""",
        ),
        ("[DEFAULTS]\nlr = 1\nlr = 2\n", r"x.ini, line 3: \[DEFAULTS\] has 'lr' twice; keep one of them"),
        ("[a]\nx = 1\n[b]\n[a]\n", r"x.ini, line 4: \[a\] is there twice; put its keys into one section"),
        ("[DEFAULTS]\nmodel = 1\n[model]\nwidth = 3\n", r"x.ini: model.width is a value, and has keys"),
        ("[DEFAULTS]\nmodel = {}\n[model]\nwidth = 3\n", r"x.ini: model.width is a value, and has keys"),
        ("[DEFAULTS]\na.b = 1\na = 2\n", r"x.ini: a is a value, and has keys"),
        ("[DEFAULTS]\na..b = 1\n", r"x.ini: the key 'a\.\.b' has an empty part"),
    ],
)
def test_what_is_no_config_is_refused_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(SourceError, match=f"^{sentence}") as caught:
        read_ini(text, "x.ini")
    assert "\n" not in str(caught.value)


KEYS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(".".join)


@given(st.dictionaries(KEYS, st.integers()))
def test_nesting_loses_nothing(values: dict[str, int]) -> None:
    clash = any(other != key and other.startswith(f"{key}.") for key in values for other in values)
    if clash:
        with pytest.raises(SourceError, match="is a value, and has keys"):
            nested(values, "x")
        return
    made = nested(values, "x")
    for key, value in values.items():
        place: object = made
        for part in key.split("."):
            assert isinstance(place, dict)
            place = place[part]
        assert place == value
