"""Write the reference of settings and of commands from the code that reads them: `make reference`.

A test fails while `docs/reference/settings.md` or `docs/reference/commands.md` is not what this writes.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import typer
from typer.testing import CliRunner

from trainctl.cli.app import _SECTIONS, app
from trainctl.config.grid import GridSweeperConf
from trainctl.config.settings import Settings
from trainctl.launch.cluster_settings import RayConf, SlurmConf
from trainctl.launch.settings import SlotLauncherConf, SweepConf

HERE = Path(__file__).resolve().parent / "reference"
UNITS = {"_s": "seconds", "_min": "minutes", "_mib": "MiB", "_gb": "GB", "_util": "percent", "sync_every": "steps"}
EXAMPLES = {
    "trainctl.editable": "false",
    "trainctl.controls": "{model.*: '!'}",
    "trainctl.replay": "outputs/live",
    "trainctl.replay_mode": "follow",
    "trainctl.drift": "allow",
    "trainctl.poll_s": "0.5",
    "trainctl.sync_every": "50",
    "trainctl.locks": "/var/tmp/trainctl-locks",
    "trainctl.seed": "7",
    "trainctl.identity.exclude": "[data.path]",
    "trainctl.pairs": "conf.pairs.pairs",
    "trainctl.incompatible": "error",
    "trainctl.missing": "error",
    "trainctl.explain": "optim.lr",
    "trainctl.run.only": "[test]",
    "trainctl.run.force": "true",
    "trainctl.run.flags": "dashes",
    "trainctl.run.debug": "true",
    "trainctl.panel.enabled": "false",
    "trainctl.panel.address": "0.0.0.0",
    "trainctl.panel.port": "8050",
    "trainctl.panel.hosts": "[lab.example]",
    "trainctl.panel.origins": "['https://hub.example']",
    "trainctl.panel.prefix": "/lab",
    "trainctl.panel.open": "true",
    "trainctl.panel.cert": "cert.pem",
    "trainctl.panel.key": "key.pem",
    "trainctl.panel.keep_min": "60",
    "trainctl.panel.user_header": "X-Forwarded-User",
    "trainctl.panel.users": "[me@lab.example]",
    "trainctl.panel.readers": "['*@lab.example']",
    "trainctl.panel.trusted_proxies": "[10.0.0.0/8]",
    "trainctl.panel.public_url": "https://lab.example",
    "trainctl.hidden": "[data.path, '!max_tokens']",
    "trainctl.track": "[tensorboard, wandb]",
    "trainctl.track_metrics": "true",
    "trainctl.omit": "[data]",
    "hydra.launcher.slots": "[0, 0, '2,3', cpu]",
    "hydra.launcher.gpus_per_job": "2",
    "hydra.launcher.jobs_per_gpu": "2",
    "hydra.launcher.min_free_mib": "20000",
    "hydra.launcher.max_foreign_util": "20",
    "hydra.launcher.stagger_s": "30",
    "hydra.launcher.share": "true",
    "hydra.launcher.start": "spawn",
    "hydra.launcher.timeout_min": "90",
    "hydra.launcher.retries": "2",
    "hydra.launcher.retry_on": "[oom]",
    "hydra.launcher.grace_s": "60",
    "hydra.launcher.stop_after_failures": "1",
    "hydra.launcher.first": "1",
    "hydra.launcher.rerun": "all",
    "hydra.launcher.resume": "true",
    "hydra.launcher.detach": "true",
    "hydra.launcher.dry_run": "true",
    "hydra.launcher.progress": "plain",
    "hydra.launcher.partition": "gpu",
    "hydra.launcher.account": "lab",
    "hydra.launcher.qos": "long",
    "hydra.launcher.cpus_per_task": "8",
    "hydra.launcher.gpus_per_node": "4",
    "hydra.launcher.nodes": "2",
    "hydra.launcher.tasks_per_node": "1",
    "hydra.launcher.mem_gb": "64",
    "hydra.launcher.mem_per_gpu": "32G",
    "hydra.launcher.mem_per_cpu": "4G",
    "hydra.launcher.cpus_per_gpu": "8",
    "hydra.launcher.gres": "gpu:a100:4",
    "hydra.launcher.constraint": "a100",
    "hydra.launcher.exclude": "node7",
    "hydra.launcher.comment": "thesis",
    "hydra.launcher.name": "norms",
    "hydra.launcher.signal_delay_s": "300",
    "hydra.launcher.additional_parameters": "{nice: 100}",
    "hydra.launcher.setup": "['module load cuda']",
    "hydra.launcher.array_parallelism": "8",
    "hydra.launcher.jobs_per_allocation": "1",
    "hydra.launcher.max_num_timeout": "10",
    "hydra.launcher.ray.init": "{address: auto}",
    "hydra.launcher.ray.remote": "{num_gpus: 0.5}",
    "hydra.launcher.max_parallel": "16",
    "hydra.launcher.max_moves": "10",
    "hydra.sweeper.grids": "[{norm: 'new,batch'}]",
    "hydra.sweeper.sample": "20",
    "hydra.sweeper.seed": "1",
    "hydra.sweeper.titles": "[early]",
    "hydra.sweeper.seeds": "3",
}


class Setting(NamedTuple):
    key: str
    type: str
    default: str
    unit: str
    meaning: str


def settings_in(conf: type, prefix: str, leave_out: frozenset[str] = frozenset()) -> Iterator[Setting]:
    """Yield the settings of a typed config, those of nested configs behind their key."""
    comments = comments_in(conf)
    for each in dataclasses.fields(conf):
        key = f"{prefix}.{each.name}"
        default = each.default_factory() if callable(each.default_factory) else each.default
        if each.name.startswith("_") or each.name in leave_out:
            continue
        if dataclasses.is_dataclass(default):
            yield from settings_in(type(default), key)
            continue
        unit = next((unit for end, unit in UNITS.items() if each.name.endswith(end)), "")
        yield Setting(key, str(each.type).replace(" | None", " or null"), flow(default), unit, comments[each.name])


def comments_in(conf: type) -> dict[str, str]:
    """Return the comment above each field, those of its bases too; fields below one another share theirs.

    A field without one has what the class's docstring says of it below `Attributes:`.
    """
    attributes = inspect.cleandoc(conf.__doc__ or "").partition("Attributes:\n")[2]
    told = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", attributes, re.MULTILINE)
    found = {name: " ".join(text.split()) for name, text in told}
    for kind in reversed(conf.__mro__[:-1]):
        comment: list[str] = []
        is_fresh = False
        for line in (each.strip() for each in inspect.getsource(kind).splitlines()):
            if line.startswith("# "):
                comment = [*(comment if is_fresh else []), line[2:]]
                is_fresh = True
            elif field := re.match(r"(\w+): .*?(?:  ?# (.*))?$", line):
                found[field[1]] = field[2] or " ".join(comment) or found.get(field[1], "")
                is_fresh = False
            elif not line:
                comment, is_fresh = [], False
    return found


def flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(flow, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {flow(inner)}' for name, inner in value.items())}}}"
    return str(value)


CLUSTERS = "Beside what all launchers have: [Slurm and Ray](../clusters.md)."
PARTS: tuple[tuple[str, type, str, str], ...] = (
    ("`trainctl.*`", Settings, "trainctl", "Of one run: `trainctl.KEY=VALUE`, or below `trainctl:` in a config."),
    ("`hydra/launcher=slots`", SlotLauncherConf, "hydra.launcher", "[On this machine](../howto/shared-server.md)."),
    ("`hydra/launcher=slots_slurm`", SlurmConf, "hydra.launcher", CLUSTERS),
    ("`hydra/launcher=slots_ray`", RayConf, "hydra.launcher", CLUSTERS),
    ("`hydra/sweeper=grids`", GridSweeperConf, "hydra.sweeper", "[Grids](../howto/sweeps.md#grids)."),
)


def sections() -> Iterator[tuple[str, str, list[Setting]]]:
    """Yield title, first sentence and settings of each typed config; what all launchers have is told once."""
    shared = frozenset(each.name for each in dataclasses.fields(SweepConf))
    for title, conf, prefix, sentence in PARTS:
        leave_out = shared if conf in (SlurmConf, RayConf) else frozenset[str]()
        yield title, sentence, list(settings_in(conf, prefix, leave_out))


def settings_page() -> str:
    """Return the page of all settings."""
    lines = [
        "# Settings",
        "",
        "Made from the typed configs by `make reference`. The example is a value as it stands in a config; on a command line write",
        "`KEY=VALUE`, in quotes where the shell would take it apart. `retries`, `retry_on`, `grace_s`, `stop_after_failures`, `first`,",
        "`rerun`, `resume`, `detach`, `dry_run` and `progress` are the same for all launchers of this package.",
    ]
    for title, sentence, settings in sections():
        lines += ["", f"## {title}", "", sentence, ""]
        lines += ["| key | type | default | unit | example | meaning |", "|---|---|---|---|---|---|"]
        for each in settings:
            code = [f"`{text}`" for text in (each.key, each.type, each.default, EXAMPLES[each.key])]
            lines.append(row(*code[:3], each.unit, code[3], each.meaning))
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """Return the page of all commands: what `--help` says of each."""
    group: Any = typer.main.get_command(app)
    lines = [
        "# Commands",
        "",
        "Made from `--help` by `make reference`. `python -m trainctl` is the same program. A RUN is a run directory, or a name below",
        "`outputs/` if only one run has it (below `.`, where there is no `outputs/`). `trainctl --install-completion` completes commands",
        "and options in your shell.",
        "",
        *help_of(),
    ]
    for title, names in _SECTIONS.items():
        lines += ["", f"## {title}"]
        for name in names:
            lines += ["", f"### `trainctl {name}`", "", *help_of(name)]
            for inner in getattr(group.commands[name], "commands", {}):
                lines += ["", f"#### `trainctl {name} {inner}`", "", *help_of(name, inner)]
    return "\n".join(lines) + "\n"


def help_of(*words: str) -> list[str]:
    """Return what a command says of itself on a terminal of 80 columns, as a block."""
    asked = CliRunner().invoke(app, [*words, "--help"], prog_name="trainctl", env={"COLUMNS": "80"})
    return ["```text", *asked.output.rstrip().splitlines(), "```"]


def row(*cells: str) -> str:
    """Return a row of a table in markdown."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


PAGES = {"settings.md": settings_page, "commands.md": commands_page}


def main() -> None:
    """Write both pages."""
    for name, page in PAGES.items():
        (HERE / name).write_text(page())


if __name__ == "__main__":
    main()
