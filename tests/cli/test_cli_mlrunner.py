"""`trainctl import mlrunner`: the files of its users run the same commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from made import Cli, assert_refused

README = """
---
template:
  train: >
    python train.py data-bin/{data} --save-dir {_output} --norm {norm} [moment] [early-stop]

  avg: >
    python checkpoint_avg.py --inputs {_output} --num 5 --output {_output}/avg.pt

  test: >
    python generate.py data-bin/{data} --beam 5 --path {_output}/avg.pt

default:
  data: iwslt14
  norm: batch
  moment: 0.1
  early-stop: False

resource: [ 0, 1, 2, 3 ]

---
norm: [ new, batch ]
moment: [ 0.1, 0.05 ]

---
norm: [ batch ]
early-stop: [ True, False ]
"""

# what mlrunner runs for it, without its prefix and redirection, by the values of each of its five tasks
TRAIN = "python train.py data-bin/iwslt14 --save-dir OUT --norm {} --moment {} {}"
REST = [
    "python checkpoint_avg.py --inputs OUT --num 5 --output OUT/avg.pt",
    "python generate.py data-bin/iwslt14 --beam 5 --path OUT/avg.pt",
]
TASKS = [("new", 0.1, ""), ("new", 0.05, ""), ("batch", 0.1, ""), ("batch", 0.05, ""), ("batch", 0.1, "--early-stop")]

SHIPPED = """
---
template:
  dtype: >
    echo command [str] [int] [float] [bool]

  replace: >
    echo command [flag-value] {value} [flag] "{blahblah: {value-in-quote}}"

  reserved: >
    echo command {_time} {_name} {_output}

  alias: >
    echo command {param_alias_1} {param_alias_2}

alias:
  param_alias:
    case_lala1: { param_alias_1: 1, param_alias_2: "1" }
    case_haha2: { param_alias_1: 2, param_alias_2: "2" }

default:
  str: "string value "
  int: 1
  float: 1.1
  bool: False
  flag-value: 1
  value: 2
  flag: False
  value-in-quote: 10
  param_alias_1: 0
  param_alias_2: 0

resource: [ "0", "1" ]

---
_title: dtype
_cmd: [ dtype ]
dummy: [ "dtype" ]
str: [ "new string" ]
int: [ 2 ]
float: [ 3.1415 ]
bool: [ True ]

---
_title: default
_cmd: [ dtype ]
dummy: [ "default_dtype" ]

---
_title: default_concise
_cmd: dtype
dummy: "default_dtype2"

---
{ _title: default_concise, _cmd: dtype, dummy: "default_dtype3" }

---
_title: replace
_cmd: [ dtype ]
dummy: [ "replace" ]

---
_title: reserve
_cmd: [ reserved ]
dummy: [ "reserve" ]

---
_title: alias
_cmd: [ alias ]
dummy: [ "alias" ]
param_alias: [ case_haha2 ]
"""

DEFAULT = ["echo", "command", "--str", "string value ", "--int", "1", "--float", "1.1"]
PANEL_OFF = ["trainctl.panel.enabled=false", "hydra.launcher.slots=2"]


def commands_of(cli: Cli, config: str, *arguments: str) -> list[list[list[str]]]:
    """Return what each job would run, word by word, with OUT for its run dir and NAME for its name."""
    shown = cli("run", "--config", config, "--dry-run", *arguments, *PANEL_OFF)
    assert shown.returncode == 0, shown.stderr
    jobs: list[list[list[str]]] = []
    run = ""
    for line in shown.stdout.splitlines():
        if head := re.match(r"\d+/\d+ +run +(\S+) ", line):
            jobs.append([])
            run = head[1]
        elif line.startswith("  "):
            text = re.sub(rf"/\S*{re.escape(run)}", "OUT", line.strip().partition(": ")[2])
            jobs[-1].append(shlex.split(text.replace(Path(run).name, "NAME")))
    return jobs


@pytest.mark.slow
def test_readmes_example_runs_the_same_commands(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(README)
    answer = cli("import", "mlrunner", "params.yaml")
    assert answer.stdout.splitlines() == [
        "wrote imported/params.yaml",
        "to run it: trainctl run --config imported/params.yaml",
    ]
    assert (answer.returncode, answer.stderr) == (0, "")
    expected = [[shlex.split(line) for line in (TRAIN.format(*task), *REST)] for task in TASKS]
    assert commands_of(cli, "imported/params.yaml") == expected
    assert commands_of(cli, "imported/params.yaml", "only=[avg]", "norm=new")[0] == [shlex.split(REST[0])]


@pytest.mark.slow
def test_shipped_file_runs_the_same_commands(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(SHIPPED)
    assert cli("import", "mlrunner", "params.yaml", "--to", "here").stdout.splitlines()[1:3] == [
        "wrote here/param_alias/case_lala1.yaml",
        "wrote here/param_alias/case_haha2.yaml",
    ]
    jobs = commands_of(cli, "here/params.yaml")
    time = jobs[5][0].pop(2)
    assert re.fullmatch(r"\d{8}\.\d{6}", time)
    assert jobs == [
        [["echo", "command", "--str", "new string", "--int", "2", "--float", "3.1415", "--bool"]],
        *[[DEFAULT]] * 4,
        [["echo", "command", "NAME", "OUT"]],
        [["echo", "command", "2", "2"]],
    ]
    titled = commands_of(cli, "here/params.yaml", "only=[replace]", "hydra.sweeper.titles=[replace]")
    assert titled == [[["echo", "command", "--flag-value", "1", "2", "{blahblah: 10}"]]]


def test_file_with_any_name_and_aliases_that_yaml_takes_for_other_things_can_be_run(cli: Cli, tmp_path: Path) -> None:
    text = "template: {t: 'echo {x}'}\nalias: {a: {true: {x: 1}, 2: {x: it's}}}\nresource: [cpu]\n---\na: [true, 2]\n"
    (tmp_path / "my params.yml").write_text(text)
    *_, last = cli("import", "mlrunner", "my params.yml").stdout.splitlines()
    assert last == "to run it: trainctl run --config 'imported/my params.yaml'"
    assert commands_of(cli, "imported/my params.yaml") == [[["echo", "1"]], [["echo", "it's"]]]


@pytest.mark.slow
def test_import_of_what_is_not_mlrunners_is_one_sentence(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("a: 1")
    assert_refused(cli("import", "mlrunner", "params.yaml"), "must have `template` and `resource`")
    assert_refused(cli("import", "mlrunner", "gone.yaml"), "there is no file 'gone.yaml'")
    (tmp_path / "params.yaml").write_text(README.replace("{_output} --norm", "{_output} {lost} --norm"))
    assert "template.train: {lost} is not a parameter; left as it is" in cli("import", "mlrunner", "params.yaml").stderr
    assert_refused(cli("import", "mlrunner", "params.yaml"), "exists already; nothing was written")
