"""Whatever a value is, the shell hands it on unchanged, and runs nothing of it."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from trainctl.commands.quoting import ShellText
from trainctl.commands.shell import shell
from trainctl.commands.template import Place, Templates
from trainctl.errors import CommandError

HOLE = "@@"
SHOW = "show() { for each; do printf '<%s>' \"$each\"; done; }; "

# template with a hole, and the words that the shell must hand on; V stands for the value
PLACES = [
    ("show @@", ["V"]),
    ("show a @@ b", ["a", "V", "b"]),
    ("show --path=@@/x.pt", ["--path=V/x.pt"]),
    ("show '@@'", ["V"]),
    ("show 'it is @@' \"and @@.\"", ["it is V", "and V."]),
    ('show "@@"', ["V"]),
    ('show "{blah: @@}" # a comment', ["{blah: V}"]),
    ('show "$(show @@; printf x)"', ["<V>x"]),
    ("(cd / && show @@) | cat", ["V"]),
    ('X=@@; show "$X"', ["V"]),
    ("show \\'@@\\' '\"' @@ \"'\"", ["'V'", '"', "V", "'"]),
    ("show ${HOME:+x}@@", ["xV"]),
    ("cat <<<@@ >/dev/null; show @@", ["V"]),
    ("if true; then show @@; fi; show @@#", ["V", "V#"]),
]
bits = [*"a' \"\\$`!#;&|<>(){}[]*?~=%\n\t-0é", "$(touch x)", "`id`", "$HOME", "';", '";']
nasty = st.lists(st.sampled_from(bits), max_size=8).map("".join)


def filled(template: str, value: str) -> str:
    text = ShellText()
    for number, part in enumerate(template.split(HOLE)):
        if number:
            text.write_words([value], "${value}")
        text.write(part)
    return str(text)


@pytest.mark.skipif("bash" not in shell()[0], reason="what is shown needs bash")
@pytest.mark.parametrize(("template", "words"), PLACES, ids=[template for template, _ in PLACES])
@settings(max_examples=40)
@given(value=nasty)
@example(value="'")
@example(value="")
@example(value="$(echo no)'\"`echo no`\\")
def test_value_reaches_the_command_as_it_is(template: str, words: list[str], value: str) -> None:
    done = subprocess.run([*shell(), SHOW + filled(template, value)], capture_output=True, check=False)
    assert done.stdout.decode() == "".join(f"<{word.replace('V', value)}>" for word in words), done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("echo \\@@", "right after a backslash"),
        ('echo "\\@@"', "right after a backslash"),
        ("echo $@@", "right after a dollar sign"),
        ('echo "$@@"', "right after a dollar sign"),
        ("echo $'@@'", r"inside \$'…'"),
        ("echo `date @@`", r"inside `…`; write \$\(…\)"),
        ('echo "`date @@`"', "inside `…`"),
        ("echo ${HOME:-@@}", "inside the shell's"),
        ('echo "${HOME:+"}"}@@"', "after quotes inside the shell's"),
        ("echo $[1 + @@]", "after quotes inside the shell's"),
        ("a[@@]=1", "right after a bracket"),
        ("echo x # @@", "in a comment"),
        ("cat <<EOF\n@@\nEOF", "in or after a here-document"),
        ("cat <<@@", "in or after a here-document"),
        ("echo $((1 + @@))", r"inside \(\(…\)\) as long as it is no whole number, and it is 'a\[\$\(id\)\]'"),
        ("$(case $x in a) echo;; esac; echo @@)", "after `case` together with parentheses"),
    ],
)
def test_places_that_take_no_value_are_refused(template: str, reason: str) -> None:
    with pytest.raises(CommandError, match=rf"\${{value}} cannot stand {reason}.*; put that part .* script of its own"):
        filled(template, "a[$(id)]")


def test_whole_numbers_may_be_reckoned_with() -> None:
    assert filled("echo $((2 * @@))", "-3") == "echo $((2 * -3))"


def test_nul_is_refused() -> None:
    with pytest.raises(CommandError, match="has a NUL character"):
        filled("echo @@", "a\0b")


plain = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@settings(max_examples=60)
@given(st.lists(plain, min_size=1, max_size=4))
def test_values_of_a_config_reach_the_command(values: list[str]) -> None:
    config = OmegaConf.create({"a": "", "all": [], "commands": {"x": "printf '%s\\0' ${a} ${all} ${flag:all}"}})
    config._set_flag("allow_objects", True)
    config.a = values[0].replace("${", "$ {")
    config["all"] = [value.replace("${", "$ {") for value in values]
    line = Templates(config).line("x", Place("/run", "run")).text
    done = subprocess.run([*shell(), line], capture_output=True, check=True)
    rest = list(config["all"])
    assert done.stdout.decode().split("\0")[:-1] == [config.a, *rest, "--all", *rest]
