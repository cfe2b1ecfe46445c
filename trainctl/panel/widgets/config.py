"""What a run was started from: its config, where each value comes from, its overrides; and where runs differ."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import panel
import panel_material_ui as pmui

from trainctl.config import keys, yaml
from trainctl.config.values import is_same
from trainctl.errors import TrainctlError
from trainctl.explain.origin import rows
from trainctl.panel.data.run_view import RunView
from trainctl.panel.data.watcher import Watcher
from trainctl.panel.html import html
from trainctl.panel.pages.theme import STYLE
from trainctl.panel.widgets.control_row import Control, Controls
from trainctl.panel.widgets.pending import set_object
from trainctl.rundir.edits import values_by_step
from trainctl.rundir.summary import read_record
from trainctl.text import count, one_line

_HEADS = ("key", "value", "set by", "instead of")


class Origins:
    """Explains a run on demand, and again only after another edit."""

    def __init__(self) -> None:
        self._known: tuple[int, str] | None = None

    def table(self, view: RunView) -> str:
        """Return an HTML table of all keys, with what may be a secret masked; a sentence if it cannot be told."""
        edits = len(view.changelog.edits) if view.changelog is not None else -1
        if self._known is None or self._known[0] != edits:
            self._known = (edits, _table(view))
        return self._known[1]


def _table(view: RunView) -> str:
    from trainctl.explain.explain import explain_run  # loads Hydra, needed for this alone

    masking = view.masking
    try:
        explanation = explain_run(view.row.summary.run)
        found = rows(explanation.history, None, masking.value)
    except (TrainctlError, OSError) as error:
        return f'<p class="dim">{html(masking.text(str(error)))}</p>'
    except Exception as error:  # noqa: BLE001  # whatever lies in a run dir must not take the page down
        return f'<p class="dim">{html(masking.text(f"it cannot be told: {type(error).__name__}: {error}"))}</p>'
    masked = [(key, value, masking.text(source), masking.text(replaced)) for key, value, source, replaced in found]
    unknown = "".join(f'<p class="dim">{html(masking.text(sentence))}</p>' for sentence in explanation.unknown)
    return unknown + difference_table(list(masked), _HEADS, "The config is empty.")


MAX_OTHERS = 1000
FIELDS = (
    Control("other", "choice", "difference to", width=280),
    Control("origins", "check", "where each value comes from"),
)
_FACTS = ("identity", "argv", "cwd", "script", "module", "host", "python", "executable", "seed", "world_size", "parent")
_STYLE = STYLE + "pre { margin: 0; font: var(--small)/1.45 var(--mono); white-space: pre-wrap; }"


class ConfigTab:
    """The config as it is now; what set each value of it; beside another run's, where they differ."""

    def __init__(self, watcher: Watcher, name: str, view: RunView) -> None:
        self._watcher = watcher
        self._name = name
        self._view = view
        self._fields = Controls(FIELDS, lambda: self.look(self._view), margin=(4, 12))
        self._text = panel.pane.HTML("", stylesheets=[_STYLE], sizing_mode="stretch_width", margin=(4, 12))
        self._origins = Origins()
        self.view = pmui.Column(self._fields.view, self._text, sizing_mode="stretch_width", margin=0)

    def look(self, view: RunView) -> None:
        """Show the config, or the difference to the chosen run."""
        self._view = view
        names = [name for name in self._watcher.rows() if name != self._name][:MAX_OTHERS]
        self._fields.show("other", options=["", *names])
        other_name = self._fields.text("other")
        other = self._watcher.view(other_name) if other_name else None
        if other is None and self._fields.is_on("origins"):
            set_object(self._text, self._origins.table(view))
            return
        if other is None:
            config = view.changelog.at(view.changelog.last_step) if view.changelog is not None else dict(view.values)
            set_object(self._text, f'<pre tabindex="0">{html(yaml.dumps(config))}</pre>')
            return
        query = f"a={_quoted(self._name)}&b={_quoted(other_name)}"
        link = f'<p><a href="../compare?{query}">Compare both in full</a></p>'
        rows: list[tuple[Any, ...]] = list(config_difference(view, other))
        heads = ("key", self._name, other_name)
        set_object(self._text, link + difference_table(rows, heads, "Both have the same config."))


class ProvenanceTab:
    """Overrides, command, code, machine, packages."""

    def __init__(self) -> None:
        self._text = panel.pane.HTML("", stylesheets=[_STYLE], sizing_mode="stretch_width", margin=(8, 12))
        self.view = pmui.Column(self._text, sizing_mode="stretch_width", margin=0)

    def look(self, view: RunView) -> None:
        """Show what `run.yaml` says; it is written once per attempt."""
        record = read_record(view.row.summary.run, "overrides", "git", "job", "packages", *_FACTS)
        overrides = record.get("overrides") or []
        listed = "\n".join(view.masking.text(str(one)) for one in overrides) or "none"
        rows = [(name, record[name]) for name in _FACTS if record.get(name) is not None]
        git, job, packages = record.get("git"), record.get("job"), record.get("packages")
        rows += [(f"git {name}", value) for name, value in (git.items() if isinstance(git, Mapping) else ())]
        rows += [(f"job {name}", value) for name, value in (job.items() if isinstance(job, Mapping) else ())]
        body = "".join(
            f'<tr><td>{html(name)}</td><td class="mono text">{html(view.masking.text(_said(value)))}</td></tr>'
            for name, value in rows
        )
        installed = (
            "\n".join(f"{name}=={version}" for name, version in packages.items())
            if isinstance(packages, Mapping)
            else ""
        )
        set_object(
            self._text,
            f'<h2 class="head">Overrides</h2><pre>{html(listed)}</pre><h2 class="head">Provenance</h2>'
            f"<table>{body}</table><details><summary>packages</summary><pre>{html(installed)}</pre></details>",
        )


def _said(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _quoted(name: str) -> str:
    return html(quote(name, safe=""))


def config_now(view: RunView) -> dict[str, Any]:
    """Return a run's config by dotted key, after its last edit; without the settings of trainctl."""
    log = view.changelog
    values = keys.leaves(log.at(log.last_step)) if log is not None else view.values
    return {key: value for key, value in values.items() if keys.split(key)[0] != "trainctl"}


def config_difference(*views: RunView) -> list[tuple[str, ...]]:
    """Return the keys whose values differ, with each run's as text; empty where a run has no such key."""
    configs = [config_now(view) for view in views]
    return [
        (key, *(one_line(config[key]) if key in config else "" for config in configs))
        for key in dict.fromkeys(key for config in configs for key in config)
        if not _is_same_in_all(configs, key)
    ]


def _is_same_in_all(configs: Sequence[Mapping[str, Any]], key: str) -> bool:
    return all(key in one for one in configs) and all(is_same(configs[0][key], one[key]) for one in configs[1:])


def edits_by_step(*views: RunView) -> list[tuple[str, ...]]:
    """Return the steps at which any run was edited, with what each run's edits there changed, from what to what."""
    changes = [values_by_step(view.changelog) if view.changelog is not None else {} for view in views]
    told: dict[int, list[list[str]]] = {}
    for place, of_run in enumerate(changes):
        for key, values in of_run.items():
            for before, after in itertools.pairwise(values):
                said = f"{key} {one_line(before[1])} → {one_line(after[1])}"
                told.setdefault(after[0], [[] for _ in views])[place].append(said)
    return [(count(step), *("; ".join(each) for each in told[step])) for step in sorted(told)]


def difference_table(rows: list[tuple[Any, ...]], heads: tuple[str, ...], same: str) -> str:
    """Write differences as an HTML table; `same` is the text when there are none."""
    if not rows:
        return f'<p class="dim">{html(same)}</p>'
    top = "".join(f"<th>{html(head)}</th>" for head in heads)
    body = "".join(
        "<tr>" + "".join(f'<td class="mono value">{html(cell)}</td>' for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="scroll" tabindex="0"><table><tr>{top}</tr>{body}</table></div>'
