"""Whatever a value is, the shell hands it on unchanged, and runs nothing of it."""

from __future__ import annotations

import subprocess

import pytest
from drawn import examples
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
    ("show 'it is' \"and @@.\"", ["it is", "and V."]),
    ('show "@@"', ["V"]),
    ('show "{blah: @@}" # a comment', ["{blah: V}"]),
    ('show "$(printf %s a b)@@" "$(true)"@@', ["abV", "V"]),
    ("(cd / && show @@) | cat", ["V"]),
    ('X=@@; show "$X"', ["V"]),
    ("show \\'@@\\' '\"' @@ \"'\"", ["'V'", '"', "V", "'"]),
    ('A=x; show ${A}@@ "${A}@@"', ["xV", "xV"]),
    ("# don't\nshow \\\n  @@ # it's", ["V"]),
    ("show @@>&1; show a@@>&1", ["V", "aV"]),
    ("[ -d / ] && show @@ [a-b]@@", ["V", "[a-b]V"]),
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
@settings(max_examples=examples(20))
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
        ("show '@@'", "inside '…'"),
        ("echo \\@@", "right after a backslash"),
        ('echo "\\@@"', "right after a backslash"),
        ("echo a\\\n@@", "after a line that is broken inside a word"),
        ("echo $@@", r"right after \$ or \$NAME"),
        ('echo "$@@"', r"right after \$ or \$NAME"),
        ("echo $HOME@@", r"right after \$ or \$NAME, which is written \$\{NAME\}"),
        ("echo $'@@'", r"inside or after \$'"),
        ("echo `date @@`", "inside or after `"),
        ('echo "`date @@`"', "inside or after `"),
        ("echo $(date @@)", r"inside or after \$\("),
        ("echo $(case x in x) echo; esac) @@", r"inside or after \$\("),
        ("echo ${HOME:-@@}", r"inside or after \$\{"),
        ('echo "${HOME:+"}"}@@"', r"inside or after \$\{"),
        ("echo $[1 + @@]", r"inside or after \$\["),
        ("a[@@]=1", r"inside or after \["),
        ("[[ @@ -eq 1 ]]", r"inside or after \["),
        ("echo x # @@", "in a comment"),
        ("cat <<EOF\n@@\nEOF", "inside or after <<"),
        ("cat <<@@", "inside or after <<"),
        ("echo $((1 + @@))", r"inside or after \$\("),
        ("((x = @@))", r"inside or after \(\("),
        ("show {a,@@}", "in a word with {…} or ~"),
        ("show ~@@", "in a word with {…} or ~"),
    ],
)
@pytest.mark.parametrize("value", ["a[$(id)]", "1"])
def test_places_that_take_no_value_are_refused_whatever_it_is(template: str, reason: str, value: str) -> None:
    with pytest.raises(CommandError, match=rf"\${{value}} cannot stand {reason}.*: values stand .*begin with NAME=\$"):
        filled(template, value)


FRAGMENTS = [
    *("show ", "@@", " @@ ", "'", '"', "\\", "\n", " ", "#", " #", "$HOME", "${HOME}", "$(show x)", "$(", "(", ")"),
    *("((", "))", "[", "]", " [ ", "{", "}", "{a,", ",b}", "a[", "a[0]", "`", "<", ">/dev/null", "<<<", "<<", "&& "),
    *(
        "; ",
        "x",
        "1",
        "$'",
        "$[",
        "${",
        "case x in a) ",
        ";; esac",
        "\\\n",
        " \\\n",
        "\t",
        "=",
        "X=",
        "EOF\n",
        "<(",
        "~",
        "*",
    ),
]


@pytest.mark.skipif("bash" not in shell()[0], reason="what is shown needs bash")
@settings(max_examples=examples(100))
@given(
    template=st.lists(st.sampled_from(FRAGMENTS), max_size=8).map("".join),
    value=nasty | st.sampled_from(["2", "x,y", "if", "X=1", "0"]),
)
@example(template="@@>/dev/null", value="2")
@example(template="@@ x", value="X=1")
def test_accepted_value_is_what_a_quoted_variable_would_be(template: str, value: str) -> None:
    template = f"show {template}@@ \n@@"
    text, expected = ShellText(), ""
    for number, part in enumerate(template.split(HOLE)):
        try:
            expected += ("${VALUE}" if text.is_quoted("") else '"${VALUE}"') if number else ""
        except CommandError:
            return
        if number:
            text.write_words([value], "")
        text.write(part)
        expected += part
    environment = {"VALUE": value, "HOME": "/my home", "PATH": ""}
    seen = [
        subprocess.run(
            [*shell(), SHOW + line], env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        for line in (str(text), expected)
    ]
    assert seen[0].stdout == seen[1].stdout
    assert seen[0].returncode == seen[1].returncode


def test_remedy_of_the_refusal_is_accepted() -> None:
    line = filled('X=@@; show "$(printf %s "$X")" \'a\' "$X"', "it's $HOME")
    done = subprocess.run([*shell(), SHOW + line], capture_output=True, check=True)
    assert done.stdout == b"<it's $HOME><a><it's $HOME>"


def test_nul_is_refused() -> None:
    with pytest.raises(CommandError, match="has a NUL character"):
        filled("echo @@", "a\0b")


plain = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@settings(max_examples=examples(60))
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
