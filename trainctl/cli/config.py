"""`trainctl config`: the config that a program would run with."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from trainctl.cli import terminal
from trainctl.cli.opening import APP, AppOption, OpenApp, OverridesArgument, look_at


def config(
    overrides: OverridesArgument = None,
    app: AppOption = APP,
    resolve: Annotated[bool, typer.Option("--resolve", help="Put values in place of ${…}.")] = False,
) -> None:
    """Print the final config, secrets masked, adapted to its pair; ??? is missing and has to be given before a run."""
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
