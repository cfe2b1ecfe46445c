"""`trainctl explain`: what set each value of a config, and what that replaced."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from trainctl.cli import terminal
from trainctl.cli.grid import Column, print_grid
from trainctl.cli.opening import OpenApp, look_at
from trainctl.cli.place import JsonOption, find_run
from trainctl.errors import SettingError
from trainctl.explain.explain import explain_config, explain_run
from trainctl.explain.origin import Explanation, below, check_key, rows, said_of_value
from trainctl.rundir.paths import RunDir

_Program = Annotated[
    str | None, typer.Option("--app", metavar="PROGRAM", help="Explain what a Hydra program would run, not a run.")
]


def explain(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="RUN [KEY]", help="With --app: overrides, and a key without =.")
    ] = None,
    app: _Program = None,
    as_json: JsonOption = False,
) -> None:
    """Show what set each value: a config file and who chose it, an override, a pair, an earlier run, a live edit."""
    given = list(words or ())
    if app is not None:
        overrides, keys = split_words(given)
        key = _one(keys)
        _print(look_at(app, overrides, lambda opened: _of_app(opened, overrides)), key, as_json)
    elif 1 <= len(given) <= 2:
        _print(explain_run(_run(given[0])), _one(given[1:]), as_json)
    else:
        raise SettingError("name a run, and a key if you like: trainctl explain RUN [KEY]; or a program with --app")


def _run(text: str) -> RunDir:
    """Return a run; or the output dir of any Hydra program, which has the config too."""
    run = RunDir.at(text)
    return run if os.path.lexists(run.path / ".hydra" / "hydra.yaml") else find_run(text)


def split_words(words: list[str]) -> tuple[list[str], list[str]]:
    """Tell overrides from keys.

    >>> split_words(["norm=new", "optim.lr", "~schedule"])
    (['norm=new', '~schedule'], ['optim.lr'])
    """
    overrides = [word for word in words if "=" in word or word.startswith("~")]
    return overrides, [word for word in words if word not in overrides]


def _one(keys: list[str]) -> str | None:
    if len(keys) > 1:
        raise SettingError(
            f"one key can be explained at a time, not {' and '.join(keys)}; a key stands for all below it"
        )
    return keys[0] if keys else None


def _of_app(opened: OpenApp, overrides: list[str]) -> Explanation:
    from trainctl.compose.pairs import fit

    config = opened.compose(overrides)
    fit(config)
    return explain_config(config, opened.hydra.config_loader)


def _print(explanation: Explanation, key: str | None, as_json: bool) -> None:
    history = explanation.history
    check_key(history, key)
    if as_json:
        terminal.print_json([_record(explanation, each) for each in below(history, key)])
    elif below(history, key) == [key]:
        _print_columns(
            ("value", "set by"),
            [(said_of_value(setting, setting.value), str(setting.source)) for setting in history[str(key)]],
        )
        if key in explanation.help:
            terminal.print_line(f"# {explanation.help[str(key)]}", style="dim")
    else:
        lines = [(*line, explanation.help.get(line[0], "")) for line in rows(history, key)]
        _print_columns(("key", "value", "set by", "replaced", "help"), lines)
    for sentence in explanation.unknown:
        terminal.note(sentence, style="yellow")


def _print_columns(titles: tuple[str, ...], lines: Any) -> None:
    columns = zip(titles, zip(*lines, strict=True), strict=True)
    print_grid([Column(title, cells, least=12) for title, cells in columns if title != "help" or any(cells)])


def _record(explanation: Explanation, key: str) -> dict[str, Any]:
    settings = explanation.history[key]
    return {
        "key": key,
        "value": settings[-1].value,
        "set": [
            {
                "kind": each.source.kind,
                "source": each.source.text,
                **({"gone": True} if each.is_gone else {"value": each.value}),
            }
            for each in settings
        ],
        **({"help": explanation.help[key]} if key in explanation.help else {}),
    }
