"""`trainctl replay`: a recorded run again, in a new run dir; with --verify, whether it is the same run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from trainctl import text
from trainctl.cli import terminal
from trainctl.cli.place import RunArgument, find_run, shown
from trainctl.config.overrides import override_key, quoted, single_run_overrides
from trainctl.errors import RunDirError, SettingError
from trainctl.rundir import files
from trainctl.rundir.compare import Comparison, compare
from trainctl.rundir.paths import RunDir, own_dir
from trainctl.rundir.provenance import THREADS, differences
from trainctl.rundir.result import read_result
from trainctl.rundir.status import read_status, seen_of, state_of
from trainctl.rundir.summary import read_record, summarize
from trainctl.rundir.trust import check_trust

_CONFIG_FLAGS = {"--config-name", "-cn", "--config-path", "-cp", "--config-dir", "-cd"}
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
    if verify:
        _check_unset(overrides or [])
    found = find_run(run)
    check_trust(found)
    record = read_record(
        found,
        "executable",
        "script",
        "module",
        "argv",
        "overrides",
        "hydra_overrides",
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
        raise typer.Exit(_verify(found, command, cwd, ignore or []))
    os.chdir(cwd)
    sys.stdout.flush()
    # replaces this process: the script itself gets the signals, and its exit code is that of this command
    os.execv(command[0], command)


def command_of(run: RunDir, record: dict[str, Any]) -> list[str]:
    """Return the Python command line that runs the recorded job again as a replay of `run`.

    `++` sets the key whether or not the app's config has a `trainctl` node.

    Raises:
        RunDirError: the run does not say by what it was started, or that is not there any more.
    """
    overrides, argv = _texts(record.get("overrides")), _texts(record.get("argv"))
    of_hydra = _texts(record.get("hydra_overrides"))
    if of_hydra is None and run.config.exists():  # an older record
        of_hydra = single_run_overrides(files.read_mapping(run.config.parent / "hydra.yaml").get("hydra"))
    if overrides is None or argv is None or of_hydra is None:
        raise RunDirError(
            f"{run.path} was not started by a Hydra app, so its overrides are not known; start its program yourself "
            f"with another run_dir, and with trainctl.replay={str(run.path)!r} in the config given to trainctl.live"
        )
    if record.get("module") == _PIPELINES:
        raise RunDirError(
            f"{run.path} is a run of the commands of `trainctl run`, which are separate programs; start the one "
            f"whose steps it records with {_by_hand(run)}{_of_commands(run)}"
        )
    kept = [override for override in overrides if not _REPLAY_KEY.match(override)]
    kept += [*of_hydra, f"++trainctl.replay={quoted(str(run.path))}"]
    if record.get("takes_overrides") is False:
        raise RunDirError(
            f"{run.path} was started by Python code, such as hydra_zen.launch, and not by its command line; "
            f"call that with overrides={kept}"
        )
    return [*_program(run, record), *_config_flags(argv[1:]), *kept]


def _by_hand(run: RunDir) -> str:
    """Return the override that replays the run, as it is typed into a shell."""
    return shlex.quote(f"trainctl.replay={quoted(str(run.path))}")


def _of_commands(run: RunDir) -> str:
    """Return the command lines of a pipeline, as people may see them, for the end of a sentence."""
    status = read_status(run)
    commands = {} if status is None or status.commands is None else status.commands
    lines = [f"{name}: {text.shortened(text.clean_line(str(each.get('command'))))}" for name, each in commands.items()]
    return f" ({'; '.join(lines)})" if lines else ""


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
            f"start it yourself with {_by_hand(run)}"
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


def _verify(run: RunDir, command: Sequence[str], cwd: str, ignore: Collection[str]) -> int:
    """Repeat a run that is done, print the comparison, and return the exit code.

    The repetition lies in `.trainctl/verify/` beside the run, where no table lists it, and stays there.
    """
    if not _has_returned(run):
        return terminal.complain(
            f"{shown(run)} is {state_of(run)}; only a run that has returned its value can be verified"
        )
    again = _new_dir(run)
    record = files.read_mapping(run.run)
    settings = ["++trainctl.panel.enabled=false", f"hydra.run.dir={quoted(str(again.path))}"]
    # what it prints is not the answer of this command
    done = subprocess.run([*command, *settings], cwd=cwd, env=_environment(record), stdout=sys.stderr, check=False)
    if done.returncode != 0 or not _has_returned(again):
        reason = summarize(again).reason or f"exit code {done.returncode}"
        return terminal.complain(f"the repetition failed: {reason}; it is in {shown(again)}")
    verdict = compare(run, again, ignore)
    if verdict.difference is None:
        terminal.print_line(f"identical: {_identical(run, verdict)}")
        return 0
    terminal.print_line(f"not the same run; the first difference: {verdict.difference}")
    facts = differences(record, files.read_mapping(again.run))
    for fact in facts or ["nothing that is recorded of code, packages and machine differs"]:
        terminal.print_line(f"  {fact}")
    terminal.print_line(f"the repetition is in {shown(again)}")
    return 1


def _check_unset(overrides: Sequence[str]) -> None:
    """Refuse an override that would have no effect, because `_verify` sets its key after it."""
    for override in overrides:
        if override_key(override) in ("hydra.run", "hydra.run.dir", "trainctl.panel.enabled"):
            raise SettingError(
                f"{override} would have no effect: with --verify the repetition always runs without a page, in a "
                "directory of its own beside the recorded run; leave it out, or replay without --verify"
            )


def _has_returned(run: RunDir) -> bool:
    _, status = seen_of(run)
    return status is not None and status.has_returned


def _identical(run: RunDir, verdict: Comparison) -> str:
    parts = [f"{verdict.records:,} metric records"]
    if verdict.lost:
        parts[0] += f" ({verdict.lost:,} more were lost when the recorded run was killed)"
    if verdict.fingerprint is not None:
        parts.append(f"weights hash {verdict.fingerprint}")
    value = read_result(run)
    if value is not None:
        parts.append(f"return value {text.value(value, exact=True)}")
    return ", ".join(parts)


def _environment(record: dict[str, Any]) -> dict[str, str]:
    """Return the environment with the recorded sizes of thread pools, since sums of floats depend on them."""
    recorded = record.get("environment")
    threads = recorded.get("threads") if isinstance(recorded, dict) else None
    known = threads if isinstance(threads, dict) else {}
    return {**os.environ, **{name: str(known[name]) for name in THREADS if name in known}}


def _new_dir(run: RunDir) -> RunDir:
    number = 1
    plain = re.sub(r"[^\w.=,+-]", "_", run.name)  # Hydra would read ${…} in the name of a run dir
    while True:
        name = plain if number == 1 else f"{plain}.{number}"
        found = RunDir.at(own_dir(run.path.parent) / "verify" / name)
        if not found.path.exists():
            return found
        number += 1
