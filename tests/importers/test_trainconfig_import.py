from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from trainctl.config import yaml
from trainctl.config.changelog import Changelog, Edit, dumps, loads
from trainctl.config.controls import keys_of
from trainctl.config.keys import leaves
from trainctl.config.snapshot import snapshot
from trainctl.config.spec import parse_spec
from trainctl.config.values import is_same
from trainctl.errors import SettingError
from trainctl.importers.trainconfig import carry, carry_changelog, write

NAMES = st.sampled_from(["lr", "weight-decay", "weight-norm", "a.b", "a", "größe", "x y", "7", "1e-4", "n*"])
MODIFIERS = st.sampled_from(
    ["", "", "!", "[float|1e-6|1|log]", "[float|0|2]!", "[any]", "[colour]", "[int|5|1]!", "[]", " !"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(["x", "1e-4", "", "null", "0x1"])
)
LISTS = st.lists(SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(NAMES, SCALARS, max_size=2), max_size=3)


@st.composite
def configs(draw: st.DrawFn, depth: int = 2) -> dict[str, Any]:
    inner = SCALARS | LISTS | (configs(depth - 1) if depth else st.nothing())
    return {name + draw(MODIFIERS): draw(inner) for name in draw(st.sets(NAMES, max_size=4))}


def asked(given: Any, above: str = "", lock: str = "") -> dict[str, tuple[Any, str]]:
    """Return each leaf's value and modifier as trainconfig's grammar says, by another road than the code's."""
    found: dict[str, tuple[Any, str]] = {}
    for raw, value in given.items():
        at = raw.find("[") if raw.endswith(("]", "]!")) else len(raw.rstrip("!"))
        name, mark = raw[:at].rstrip(), raw[at:]
        key = above + name.replace(".", r"\.")
        if isinstance(value, dict) and value:
            found |= asked(value, f"{key}.", "!" if mark.endswith("!") else lock)
        else:
            found[key] = (value, mark.rstrip("!") + ("!" if mark.endswith("!") else lock))
    return found


@given(configs())
def test_every_value_and_modifier_is_carried_or_named(config: dict[str, Any]) -> None:
    imported = carry(yaml.dumps(config))
    written = OmegaConf.create(yaml.loads(write(imported, "a.yaml")))
    controls = OmegaConf.to_container(written.pop("trainctl", OmegaConf.create({"controls": {}})).controls)
    del written["defaults"]
    values, keys = leaves(snapshot(written)), keys_of(written, controls, editable=True)  # type: ignore[arg-type]
    wanted = asked(config)
    assert values.keys() == wanted.keys()
    for key, (value, mark) in wanted.items():
        assert is_same(values[key], value)
        named = any(note.startswith(f"{key}: the modifier {mark!r}") for note in imported.notes)
        assert (keys[key].locked is not None) == mark.endswith("!")
        try:
            spec = parse_spec(mark) if mark else None
        except SettingError:
            assert named
            continue
        if spec is not None and not named:
            assert (keys[key].min, keys[key].max, keys[key].log) == (spec.min, spec.max, bool(spec.log))
            assert spec.type in (None, keys[key].type)


def test_modifiers_become_controls_and_keys_keep_all_their_letters() -> None:
    imported = carry(
        "lr[float|1e-6|1|log]!: 0.1\nweight-decay: 1.0\nweight-norm!: true\nsub!:\n  a: 1\n  b[int|0|9]: 2\n"
    )
    assert imported.values == {"lr": 0.1, "weight-decay": 1.0, "weight-norm": True, "sub": {"a": 1, "b": 2}}
    assert imported.controls == {
        "lr": "[float|1e-6|1|log]!", "weight-norm": "!", "sub.a": "!", "sub.b": "[int|0|9]!",
    }  # fmt: skip
    assert imported.notes == []


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("lr: 1e-4", r"lr: it is 0.0001 (float) here; trainconfig read '1e-4' (str)"),
        (
            "a: {b: [2026-01-01]}",
            "a.b.0: it is 2026-01-01 (str) here; trainconfig read datetime.date(2026, 1, 1) (date)",
        ),
        ("a: 2026-02-30", "trainconfig cannot read it itself (a number, day or tagged value cannot be read)"),
        ("b: [{c!: 1}]", "b.0.c: '!' is left out: a list is edited whole, so what is in it has no control"),
        ("hydra: 1", "hydra has a special meaning in a Hydra config; left out, give it another name"),
        ("defaults: [1]", "defaults has a special meaning in a Hydra config; left out, give it another name"),
        ("lr[float|1|x]!: 0.1", "lr: the modifier '[float|1|x]!' does not fit a control; only its lock is kept"),
        ("lr[colour]: 0.1", "lr: the modifier '[colour]' does not fit a control; left out"),
        ("name[str|1|2]: x", "name: the modifier '[str|1|2]' does not fit a control; left out"),
        ("s[dict]: {a: 1}", "s: the modifier '[dict]' is left out: it is for values, and this holds keys"),
        ("lr!: 1\nlr: 2", "lr: 'lr' names the key a second time; left out"),
        ("a: ???", "a: ??? means a missing value in a Hydra config; left out"),
        ("a: !!binary AA==", "a: a value of type bytes is not allowed in a config; left out"),
        ("~: 1", "None: a key of type NoneType is not allowed; left out"),
        ("1e-4: 1\n'1e-4': 2", "the config: trainconfig reads two of the keys as one"),
    ],
)
def test_what_is_not_carried_as_it_stood_is_named(text: str, note: str) -> None:
    assert note in carry(text).notes


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- 1", "it must be a mapping of keys to values"),
        ("a: [", "it is not YAML"),
        ("!!python/name:os.system ''", "not YAML"),
    ],
)
def test_file_that_is_no_config_is_refused(text: str, reason: str) -> None:
    with pytest.raises(SettingError, match=f"^c.yaml is not a config of trainconfig: .*{reason}"):
        carry(text, "c.yaml")


def test_changelog_gets_the_names_of_the_config_and_changes_of_lists_whole() -> None:
    imported = carry("weight-decay!: 0.1\nb: [foo, [1, 2], {c!: 3}]\nscale[int|0|9]: 1\n")
    old = loads(
        "0: {weight: 0.1, b: [foo, [1, 2], {c: 3}], scale: 1}\n3: {weight: 0.5, scale: 0.5}\n5: {b: {1: {0: 9}}}\n"
    )
    carried = carry_changelog(old, imported)
    assert carried == Changelog(
        imported.values, [Edit(3, {"weight-decay": 0.5, "scale": 0.5}), Edit(5, {"b": ["foo", [9, 2], {"c": 3}]})]
    )
    assert loads(dumps(carried)) == carried
    assert (imported.keys["scale"].type, imported.keys["scale"].max, imported.keys["weight-decay"].locked) == (
        "float", 9, "locked by trainctl.controls"
    )  # fmt: skip
    assert "scale: it takes any number (type: float in its control), since step 3 gave it one" in imported.notes


@pytest.mark.parametrize(
    ("changelog", "note"),
    [
        ("0: {w: 1}", "step 0: w is several keys of the config; left out"),
        ("0: {gone: 1}", "step 0: gone is not a key of the config; left out"),
        (
            "0: {lr: 0.2}",
            "lr: the changelog began with 0.2, the config has 0.1; to repeat the changelog start with the first",
        ),
        ("0: {lr: 0.1}\n4: {w: 2}", "step 4: w names no single key of the config; left out"),
        ("0: {lr: 0.1}\n4: {s: 2}", "step 4: s names no single key of the config; left out"),
        ("0: {lr: 0.1}\n4: {lr: [1]}", "step 4: lr=[1]: the key takes a number (float), and this is a list; left out"),
        ("0: {lr: 0.1}\n4: {t: '${lr}'}", "step 4: t=${lr}: interpolations"),
        ("0: {t: '???'}", "step 0: t: ??? means a missing value in a Hydra config; as in the config"),
    ],
)
def test_part_of_a_changelog_that_no_replay_could_apply_is_named(changelog: str, note: str) -> None:
    imported = carry("w-a: 1\nw-b: 2\nlr: 0.1\ns: {a: 1}\nt: x\n")
    carried = carry_changelog(loads(changelog), imported)
    assert any(one.startswith(note) for one in imported.notes), imported.notes
    assert carried.edits == []
    assert carried.base.keys() == imported.values.keys()
