"""All commands of `trainctl`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from trainctl.cli import (
    config,
    details,
    diff,
    do,
    doctor,
    other_tools,
    page,
    pipelines,
    record,
    replay,
    request,
    results,
    runs,
    tail,
    undo,
)

_EXAMPLES = """Examples:

\b
  trainctl ls outputs --state running,failed
  trainctl set outputs/train/Norm_new optim.lr=0.02 --note calmer
  trainctl log outputs/train/Norm_new
  trainctl table outputs --where 'lr>0.01 norm=new' --sort -accuracy
  trainctl replay outputs/train/Norm_new --verify
"""

_SECTIONS = {
    "Look": {
        "ls": "List the runs below a directory, with state and progress.",
        "show": "Show all that is known about a run, and why it failed.",
        "tail": "Print the end of a run's output.",
        "log": "Show who changed what at which step, and what was rejected.",
        "table": "Compare runs: parameters that differ, results, last metrics.",
        "diff": "Show the values in which two runs differ, or one run at two steps.",
        "panel": "Show the page for the runs below a directory until Ctrl-C.",
    },
    "Change a running run": {
        "set": "Change keys, all at one step.",
        "undo": "Restore the values that an edit replaced.",
        "cancel": "Cancel a request that waits.",
        "edit": "Change keys in $VISUAL or $EDITOR.",
        "do": "Pause, resume, checkpoint, evaluate, stop, or what it declares.",
        "stop": "Stop a run, or a sweep once its running jobs are done.",
    },
    "Start": {
        "replay": "Start a recorded run again, with its config and its edits.",
        "run": "Run shell commands for every job of a sweep.",
    },
    "Configs": {
        "config": "Print the final config of a program.",
        "explain": "Show what set each value.",
        "pairs": "Show which options go together.",
        "pull": "Print the config that +from=SOURCE would load.",
    },
    "Other tools": {
        "sync": "Send to trackers what they are missing of a run.",
        "import": "Import configs of other tools.",
    },
    "This machine": {
        "doctor": "Show versions, GPUs, locks and ports, and what is wrong with them.",
    },
}


class _Sections(TyperGroup):
    """Lists the commands by what they are for, a line each; `trainctl COMMAND --help` says more."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; Ctrl-C ends it with a word and the code of a shell, where typer has the code alone."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.stderr.write("interrupted\n")
            raise typer.Exit(130) from None

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # of click, or of the copy of it that typer has
        for title, lines in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(lines.items()))


app = typer.Typer(
    cls=_Sections,
    help="See, change and replay training runs, through the files in their run dirs.",
    epilog=_EXAMPLES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("ls")(runs.ls)
app.command("show")(details.show)
app.command("tail")(tail.tail)
app.command("log")(record.log)
app.command("diff")(diff.diff)
app.command("explain")(config.explain)
app.command("config")(config.config)
app.command("pairs")(config.pairs)
app.command("set")(request.set_keys)
app.command("undo")(undo.undo)
app.command("cancel")(undo.cancel)
app.command("edit")(request.edit)
app.command("do")(do.do)
app.command("stop")(do.stop)
app.command("replay")(replay.replay)
app.command("pull")(other_tools.pull)
app.command("run", context_settings=pipelines.PASS_ON)(pipelines.run)
app.command("table")(results.table)
app.command("sync")(other_tools.sync)
app.command("panel")(page.panel)
app.command("doctor")(doctor.doctor)
app.add_typer(other_tools.importing, name="import")


def _print_version(wanted: bool) -> None:
    if wanted:
        from trainctl import __version__

        typer.echo(f"trainctl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """Take the options before the command."""
