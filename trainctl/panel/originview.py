"""Where each value of a run's config comes from, as a page shows it."""

from __future__ import annotations

from trainctl.config.origin import rows
from trainctl.errors import TrainctlError
from trainctl.panel.differing import difference_table
from trainctl.panel.runview import RunView
from trainctl.panel.words import html

_HEADS = ("key", "value", "set by", "instead of")


class Origins:
    """Explains a run when it is asked, and again only after another edit."""

    def __init__(self) -> None:
        self._known: tuple[int, str] | None = None

    def table(self, view: RunView) -> str:
        """Return an HTML table of all keys, with what may be a secret masked; a sentence if it cannot be told."""
        edits = len(view.changelog.edits) if view.changelog is not None else -1
        if self._known is None or self._known[0] != edits:
            self._known = (edits, _table(view))
        return self._known[1]


def _table(view: RunView) -> str:
    from trainctl.run.explaining import explain_run  # loads Hydra, which a page needs for nothing else

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
