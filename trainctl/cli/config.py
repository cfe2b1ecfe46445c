"""`trainctl config`, `explain` and `pairs`: the config of a program or a run, and where its values come from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainctl.cli import terminal
from trainctl.cli.opening import APP, AppOption, OpenApp, OverridesArgument, look_at
from trainctl.cli.place import JsonOption, find_run
from trainctl.cli.terminal import Column, print_grid
from trainctl.errors import AppError, SettingError
from trainctl.explain.origin import Explanation, below, check_key, rows, said_of_value
from trainctl.rundir.paths import RunDir

if TYPE_CHECKING:  # these need Hydra, which takes longer to load than most commands take
    from trainctl.config.pairs import Fit, Pairs

    Matrix = dict[str, dict[str, Fit]]


def config(
    overrides: OverridesArgument = None,
    app: AppOption = APP,
    resolve: Annotated[bool, typer.Option("--resolve", help="Put values in place of ${…}.")] = False,
) -> None:
    """Print the final config, secrets masked, adapted to its pair; ??? marks values that must be given before a run."""
    given = list(overrides or ())
    text, missing = look_at(app, given, lambda opened: _composed(opened, given, resolve))
    typer.echo(text, nl=False)
    if missing:
        terminal.note(f"missing: {', '.join(missing)}", style="yellow")


def _composed(opened: OpenApp, overrides: list[str], resolve: bool) -> tuple[str, list[str]]:
    from omegaconf import OmegaConf, open_dict, read_write

    from trainctl.compose.pairs import fit, known_to_hydra
    from trainctl.config.given import missing_keys
    from trainctl.config.settings_node import secrets_in

    whole = opened.compose(overrides)
    choices = whole.hydra.runtime.choices
    open_choices = sorted(str(group) for group in choices if OmegaConf.is_missing(choices, group))
    if not open_choices:
        fit(whole)
    task, masking = whole.copy(), secrets_in(whole)
    with read_write(task), open_dict(task):
        if resolve:
            with known_to_hydra(whole):
                OmegaConf.resolve(task)
        del task["hydra"]
        for group in open_choices:
            OmegaConf.update(task, group.partition("@")[0].replace("/", "."), "???", force_add=True)
    plain: Any = OmegaConf.to_container(task, enum_to_str=True)
    return OmegaConf.to_yaml(OmegaConf.create(masking.nested(plain), flags={"allow_objects": True})), missing_keys(task)


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
        from trainctl.explain.explain import explain_run

        _print(explain_run(_run(given[0])), _one(given[1:]), as_json)
    else:
        raise SettingError("name a run, and a key if you like: trainctl explain RUN [KEY]; or a program with --app")


def _run(text: str) -> RunDir:
    """Return a run, or the output dir of any Hydra program, which has the config as well."""
    run = RunDir.at(text)
    return run if os.path.lexists(run.path / ".hydra" / "hydra.yaml") else find_run(text)


def split_words(words: list[str]) -> tuple[list[str], list[str]]:
    """Separate overrides from keys.

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
    from trainctl.explain.explain import explain_config

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


def pairs(
    overrides: OverridesArgument = None,
    app: AppOption = APP,
    registry: Annotated[
        str | None, typer.Option(metavar="MODULE.NAME", help="A trainctl.Pairs; else that of trainctl.pairs.")
    ] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show which options go together: as they are, adapted, or not at all."""
    given = list(overrides or ())

    def look(opened: OpenApp) -> tuple[Pairs, Matrix]:
        found = _registry(opened, given, registry, app)
        return found, _matrix(opened, found, app)

    found, matrix = look_at(app, given, look)
    if as_json:
        terminal.print_json(matrix)
    elif as_markdown:
        typer.echo("\n".join(_markdown(found, matrix)))
    else:
        _print_matrix(found, matrix)


def _registry(opened: OpenApp, overrides: list[str], named: str | None, app: str) -> Pairs:
    from trainctl.compose.pairs import load_pairs
    from trainctl.config.settings_node import setting

    path = named or setting(opened.compose(overrides), "pairs")
    if path is None:
        raise AppError(f"--app {app}: its config sets no trainctl.pairs; set it, or name a registry with --registry")
    return load_pairs(str(path))


def _matrix(opened: OpenApp, found: Pairs, app: str) -> Matrix:
    first, second = (opened.hydra.config_loader.get_group_options(group) for group in found.groups)
    for group, options in zip(found.groups, (first, second), strict=True):
        if not options:
            raise AppError(f"--app {app}: it has no config group {group}, that its pairs refer to")
    return found.matrix(first, second)


def _print_matrix(found: Pairs, matrix: Matrix) -> None:
    seconds = list(next(iter(matrix.values())))
    print_grid(
        [
            Column(" / ".join(found.groups), list(matrix)),
            *(Column(each, [row[each] for row in matrix.values()], least=12) for each in seconds),
        ]
    )


def _markdown(found: Pairs, matrix: Matrix) -> list[str]:
    seconds = list(next(iter(matrix.values())))
    return [
        f"| {' / '.join(found.groups)} | {' | '.join(seconds)} |",
        "|---" * (len(seconds) + 1) + "|",
        *(f"| {first} | {' | '.join(row[each] for each in seconds)} |" for first, row in matrix.items()),
    ]
