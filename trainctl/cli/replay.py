"""`trainctl replay` starts a recorded run again in a new run dir; `trainctl run` runs pipelines, as a Hydra app."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from trainctl.cli import terminal, verification
from trainctl.cli.place import RunArgument, find_run
from trainctl.config.overrides import of_one_run, quoted
from trainctl.config.yaml import read_document
from trainctl.errors import RunDirError, TrainctlError
from trainctl.rundir import files
from trainctl.rundir.paths import RunDir
from trainctl.rundir.status import read_status
from trainctl.rundir.summary import read_record
from trainctl.rundir.trust import check_trust
from trainctl.text import clean_line, shortened

_CONFIG_FLAGS = {"--config-name", "-cn", "--config-path", "-cp", "--config-dir", "-cd"}
_CALLBACK = "trainctl.callback.TrainctlCallback"
_PIPELINES = "trainctl.commands"  # the module that `trainctl run` starts
_REPLAY_KEY = re.compile(r"\+{0,2}trainctl\.replay=")


def replay(
    run: RunArgument,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[OVERRIDES]...", help="Added after the recorded overrides.")
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Compare it with the recorded run, bit for bit.")] = False,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC", help="With --verify: a metric that depends on the clock; may be repeated."),
    ] = None,
) -> None:
    """Start the recorded script again with the recorded overrides and edits, and return its exit code.

    With --verify: run it in a hidden directory beside the recorded run, and say whether it is the same run, or the
    first step and metric that differ; the exit code is 0 only if it is.
    """
    found = find_run(run)
    check_trust(found)
    record = read_record(
        found,
        "executable",
        "script",
        "module",
        "argv",
        "overrides",
        "cwd",
        "world_size",
        "torchrun",
        "takes_overrides",
    )
    program = [*command_of(found, record), *(overrides or [])]
    command = [_interpreter(record), *_launcher(found, record, program), *program]
    cwd = record.get("cwd")
    if not isinstance(cwd, str) or not Path(cwd).is_dir():
        raise RunDirError(
            f"{found.path} was started in {cwd!r}, which is not a directory any more; it cannot be replayed"
        )
    if verify:
        raise typer.Exit(verification.verify(found, command, cwd, ignore or []))
    os.chdir(cwd)
    sys.stdout.flush()
    # in our place: the script itself gets the signals, and its exit code is that of this command
    os.execv(command[0], command)


def command_of(run: RunDir, record: dict[str, Any]) -> list[str]:
    """Return the Python command line that runs the recorded job again as a replay of `run`.

    `++` sets the key whether or not the app's config has a `trainctl` node.

    Raises:
        RunDirError: the run does not say by what it was started, or that is not there any more.
    """
    overrides, argv = _texts(record.get("overrides")), _texts(record.get("argv"))
    if overrides is None or argv is None or not run.config.exists():
        raise RunDirError(
            f"{run.path} was not started by a Hydra app with its output_subdir, so its overrides are not known; "
            f"start it yourself with trainctl.replay={run.path}"
        )
    if record.get("module") == _PIPELINES:
        raise RunDirError(
            f"{run.path} is a run of the commands of `trainctl run`, which are programs of their own; start the one "
            f"whose steps it records with trainctl.replay={run.path}{_of_commands(run)}"
        )
    kept = [override for override in overrides if not _REPLAY_KEY.match(override)]
    kept += [*_of_hydra(run), f"++trainctl.replay={quoted(str(run.path))}"]
    if record.get("takes_overrides") is False:
        raise RunDirError(
            f"{run.path} was started by Python code, such as hydra_zen.launch, and not by its command line; "
            f"call that with overrides={kept}"
        )
    return [*_program(run, record), *_config_flags(argv[1:]), *kept]


def _of_commands(run: RunDir) -> str:
    """Return the command lines of a pipeline, as people may see them, for the end of a sentence."""
    status = read_status(run)
    commands = {} if status is None or status.commands is None else status.commands
    lines = [f"{name}: {shortened(clean_line(str(each.get('command'))))}" for name, each in commands.items()]
    return f" ({'; '.join(lines)})" if lines else ""


def _of_hydra(run: RunDir) -> list[str]:
    """Return the overrides of Hydra's own node that the run had, and the callback where only its launcher was ours."""
    node = files.read_mapping(run.config.parent / "hydra.yaml").get("hydra")
    overrides, launcher, callbacks = (
        _mapping(_mapping(node).get(key)) for key in ("overrides", "launcher", "callbacks")
    )
    kept = of_one_run(_texts(overrides.get("hydra")) or [])
    targets = {_mapping(each).get("_target_") for each in callbacks.values()}
    if str(launcher.get("_target_")).startswith("hydra_plugins.hydra_trainctl.") and _CALLBACK not in targets:
        kept.append(f"++hydra.callbacks.trainctl._target_={_CALLBACK}")
    return kept


def _mapping(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _config_flags(arguments: Sequence[str]) -> list[str]:
    """Return those of Hydra's flags that choose the config; others (`-m`, `--info`) do not apply to one job."""
    flags: list[str] = []
    left = iter(arguments)
    for argument in left:
        flag, given, _ = argument.partition("=")
        if flag in _CONFIG_FLAGS:
            flags += [argument] if given else [argument, next(left, "")]
    return flags


def _program(run: RunDir, record: dict[str, Any]) -> list[str]:
    module, script = record.get("module"), record.get("script")
    if isinstance(module, str):
        return ["-m", module]
    if not isinstance(script, str) or script.endswith(">"):  # <stdin>
        raise RunDirError(
            f"{run.path} was started from no file (python -c, standard input, a notebook); "
            f"start it yourself with trainctl.replay={run.path}"
        )
    path = Path(script)
    if path.name == "__main__.py" and path.parent.is_file():
        path = path.parent  # an archive, as `zipapp` makes them
    if not path.is_file():
        raise RunDirError(
            f"{run.path} was started by the script {script!r}, which is not there any more; bring it back"
        )
    return [str(path)]


def _launcher(run: RunDir, record: dict[str, Any], program: Sequence[str]) -> list[str]:
    """Return the Python arguments that start the program on the recorded number of ranks; none for one rank.

    Raises:
        RunDirError: it ran on several machines, or the ranks were started by something other than torchrun.
    """
    size = record.get("world_size")
    if not isinstance(size, int) or size <= 1:
        return []
    recorded = record.get("torchrun")
    known = recorded if isinstance(recorded, dict) else {}
    if known.get("nnodes") == 1 and known.get("nproc_per_node") == size:
        return ["-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={size}"]
    raise RunDirError(
        f"{run.path} was a run of {size} ranks, which this command cannot start; start it as it was started, "
        f"with the command {shlex.join(program)}"
    )


def _interpreter(record: dict[str, Any]) -> str:
    recorded = record.get("executable")
    if isinstance(recorded, str) and os.access(recorded, os.X_OK):
        return recorded
    terminal.complain(f"the recorded Python {recorded!r} is not there any more; {sys.executable} is used instead")
    return sys.executable


def _texts(value: Any) -> Sequence[str] | None:
    return value if isinstance(value, list) and all(isinstance(text, str) for text in value) else None


# what may be said of a pipeline in short, as an override: `only=[avg]`
_SHORT = {
    "only": "trainctl.run.only",
    "force": "trainctl.run.force",
    "flags": "trainctl.run.flags",
    "dry_run": "hydra.launcher.dry_run",
}
_SHORT_OVERRIDE = re.compile(rf"({'|'.join(_SHORT)})=(.*)", re.DOTALL)
_NAMES = re.compile(r"(?!null$)[\w-]+(,[\w-]+)*")
_DEBUG = (
    "trainctl.run.debug=true",
    "hydra.launcher.first=1",
    "hydra.launcher.rerun=all",
    "hydra.launcher.progress=plain",
)
_LISTING = "++hydra.callbacks.trainctl_commands._target_=trainctl.commands.listing.CommandCheck"

# of Hydra's flags: those that say what it does instead of a sweep, and those that a value follows
_MODES = ("-m", "--multirun", "-r", "--run", "-c", "--cfg", "-i", "--info", "-sc", "--shell-completion", "-h", "--help",
          "--hydra-help", "--version")  # fmt: skip
_WITH_VALUE = ("-c", "--cfg", "-p", "--package", "-cd", "--config-dir", "--experimental-rerun")
_PERHAPS_WITH_VALUE = ("-i", "--info")

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def run(
    context: typer.Context,
    config: Annotated[Path, typer.Option("--config", metavar="FILE", help="The config with the commands.")],
    only: Annotated[str | None, typer.Option(metavar="NAMES", help="Only these commands: avg,test.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List jobs and commands, and run nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Run commands again that are finished.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Only the first job, finished or not; show what commands print.")
    ] = False,
) -> None:
    """Run shell commands for each job of a sweep; all else is Hydra's: -m, overrides, hydra.launcher.slots=[0,1].

    The same command run again finishes what is not finished.
    """
    if not config.is_file():
        raise TrainctlError(f"there is no file {str(config)!r}")
    if config.suffix != ".yaml":
        raise TrainctlError(f"{str(config)!r} must be called *.yaml, as Hydra wants its configs")
    flags, overrides = _apart(context.args, _keys(config))
    settings = [
        *([_only(only.split(","))] if only is not None else []),
        *(["trainctl.run.force=true"] if force else []),
        *(["hydra.launcher.dry_run=true"] if dry_run else []),
        *(_DEBUG if debug else []),
    ]
    place = ["--config-path", str(config.parent.absolute()), "--config-name", config.stem]
    if not any(flag.split("=")[0] in _MODES for flag in flags):
        flags.append("--multirun")
    name = [f"hydra.job.name={quoted(config.stem)}"]
    command = [sys.executable, "-m", "trainctl.commands", *place, *flags, *name, _LISTING, *settings, *overrides]
    sys.stdout.flush()
    # in our place: the app gets the signals, and its exit code is that of this command
    os.execv(command[0], command)


def _keys(config: Path) -> Collection[Any]:
    """Return the top-level keys of the config; refuse what Hydra would only show a trace of.

    Raises:
        TrainctlError: it cannot be read, or has half an interpolation in a command.
    """
    from trainctl.commands.template import pieces  # other commands need none of it

    try:
        text = config.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TrainctlError(f"{config} is not UTF-8 text") from error
    except OSError as error:
        raise TrainctlError(f"{config} cannot be read: {error.strerror}") from error
    content = read_document(text, lambda reason: TrainctlError(f"{config}: {reason}"), aliases=True)
    commands = content.get("commands") if isinstance(content, dict) else None
    for name, line in commands.items() if isinstance(commands, dict) else ():
        list(pieces(str(line), f"commands.{name}"))
    return content.keys() if isinstance(content, dict) else ()


def _apart(arguments: Sequence[str], own: Collection[Any]) -> tuple[list[str], list[str]]:
    """Tell Hydra's flags, with their values, from overrides: its parser wants all overrides together, after the flags.

    Raises:
        TrainctlError: one is neither.
    """
    flags: list[str] = []
    overrides: list[str] = []
    before = ""
    for argument in arguments:
        is_override = "=" in argument or argument.startswith("~")
        if argument.startswith("-") or before in _WITH_VALUE or (before in _PERHAPS_WITH_VALUE and not is_override):
            flags.append(argument)
        elif is_override:
            overrides.append(_long(argument, own))
        else:
            raise TrainctlError(f"{argument!r} is neither an option nor an override; overrides are KEY=VALUE or ~KEY")
        before = argument
    return flags, overrides


def _long(argument: str, own: Collection[Any]) -> str:
    """Return an override with the full name of its key; a key of the config's own is its own."""
    short = _SHORT_OVERRIDE.fullmatch(argument)
    if short is None or short[1] in own:
        return argument
    if short[1] == "only" and _NAMES.fullmatch(short[2]):
        return _only(short[2].split(","))
    return f"{_SHORT[short[1]]}={short[2]}"


def _only(names: Sequence[str]) -> str:
    return f"{_SHORT['only']}=[{','.join(quoted(name.strip()) for name in names)}]"
