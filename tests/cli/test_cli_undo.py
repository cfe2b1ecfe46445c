"""`trainctl undo`, relative and later edits by `trainctl set`, and `trainctl edit`."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from made import Cli, assert_refused, finished

from trainctl.config.changelog import loads
from trainctl.rundir.paths import RunDir

Editor = Callable[..., None]


@pytest.mark.slow
def test_relative_edit_is_told_and_recorded_as_its_value(cli: Cli, trainer: RunDir) -> None:
    answer = cli("set", "Norm_new", "optim.lr*=0.5")
    assert re.fullmatch(r"applied at step \d+: optim\.lr=0\.05; read at step \d+\n", answer.stdout), answer.stderr
    assert cli("set", "Norm_new", "optim.lr/=2").returncode == 0
    assert [edit.values for edit in loads(trainer.changelog.read_bytes()).edits] == [
        {"optim.lr": 0.05}, {"optim.lr": 0.025}
    ]  # fmt: skip
    assert_refused(cli("set", "Norm_new", "optim.lr*=x"), r"rejected: optim\.lr\*=x: 'x' is not a number")
    assert_refused(cli("set", "Norm_new", "optim.lr*=2", "optim.lr=1"), "optim.lr was given twice")
    assert "optim.lr*=x rejected" in cli("log", "Norm_new").stdout


@pytest.mark.slow
def test_set_for_a_later_step_does_not_wait_for_it(cli: Cli, trainer: RunDir) -> None:
    answer = cli("set", "Norm_new", "optim.lr=0.5", "--at", "1000000000")
    assert (answer.returncode, answer.stdout) == (
        0, "waits for step 1,000,000,000; `trainctl log` will tell what became of it\n"
    )  # fmt: skip
    assert_refused(
        cli("set", "Norm_new", "optim.rl=0.5", "--at", "1000000000", is_patient=True),
        "rejected: optim.rl=0.5: there is no such",
    )
    assert_refused(
        cli("set", "Norm_new", "optim.lr=0.5", "--at", "1", is_patient=True),
        r"rejected: step 1 is over: the run is at step",
    )


@pytest.mark.slow
def test_undo_takes_edits_back_one_by_one_and_by_number(cli: Cli, trainer: RunDir) -> None:
    for lr in ("0.2", "0.3"):
        cli("set", "Norm_new", f"optim.lr={lr}")
    answer = cli("undo", "Norm_new", "--note", "too hot")
    assert re.fullmatch(r"applied at step \d+, undoing edit 2: optim\.lr=0\.2; read at step \d+\n", answer.stdout), (
        answer.stderr
    )
    assert ", undoing edit 1: optim.lr=0.1; read" in cli("undo", "Norm_new").stdout
    assert_refused(cli("undo", "Norm_new"), "rejected: undo: no edit of this run is left to undo")
    assert_refused(cli("undo", "Norm_new", "1"), "rejected: undo of edit 1: edit 4 has undone it already")
    assert_refused(
        cli("undo", "Norm_new", "3"), "optim.lr was changed again, to 0.1 by edit 4 at step .* undo that first"
    )
    assert ", undoing edit 4: optim.lr=0.2; read" in cli("undo", "Norm_new", "4").stdout
    assert ", undoing edit 3: optim.lr=0.3; read" in cli("undo", "Norm_new", "3").stdout
    assert ", undoing edit 1: optim.lr=0.1; read" in cli("undo", "Norm_new", "1", "--force").stdout
    entries = json.loads(cli("log", "Norm_new", "--json").stdout)
    assert [(entry["number"], entry["undo"]) for entry in entries if entry["state"] == "applied"] == [
        (1, None), (2, None), (3, 2), (4, 1), (5, 4), (6, 3), (7, 1),
    ]  # fmt: skip
    lines = cli("log", "Norm_new").stdout
    assert "# undo of edit 2" in lines
    assert "# too hot" in lines
    assert "undo of the last edit rejected: undo: no edit" in lines


def test_undo_needs_a_running_run_and_a_number(cli: Cli, tmp_path: Path) -> None:
    finished(tmp_path / "outputs" / "done")
    assert_refused(cli("undo", "done"), r"outputs/done is not running \(done\); nothing was changed")
    assert_refused(
        cli("undo", "done", "0"), "Invalid value for .*greater than or equal to 1|Invalid value for .*>=1", code=2
    )


@pytest.fixture
def editor(tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Editor:
    """Name an editor that replaces texts in the file: one pair each time it is called, kept in `seen`."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "tmp").mkdir()
    environment["TMPDIR"] = str(tmp_path / "tmp")

    def use(*pairs: tuple[str, str], code: int = 0) -> None:
        script = tmp_path / "editor.py"
        script.write_text(
            "import sys, pathlib\n"
            "pairs = " + repr(list(pairs)) + "\n"
            "path, seen = pathlib.Path(sys.argv[1]), pathlib.Path(__file__).with_name('seen')\n"
            "texts = seen.read_text().split('=====') if seen.exists() else []\n"
            "text = path.read_text()\n"
            "seen.write_text('====='.join([*texts, text]))\n"
            "if len(texts) < len(pairs):\n"
            "    path.write_text(text.replace(*pairs[len(texts)]))\n"
            f"sys.exit({code})\n"
        )
        (tmp_path / "seen").unlink(missing_ok=True)
        environment["EDITOR"] = f"{sys.executable} {script}"

    environment.pop("VISUAL", None)
    return use


def test_edit_files_one_request_of_what_was_changed(cli: Cli, trainer: RunDir, tmp_path: Path, editor: Editor) -> None:
    editor(("lr: 0.1\n  # list\n  betas: [0.9, 0.999]", "lr: 2e-1\n  betas: [0.5]"))
    answer = cli("edit", "Norm_new", "--note", "by hand")
    assert re.fullmatch(r"applied at step \d+: optim\.lr=0\.2, optim\.betas=\[0\.5\]; .*\n", answer.stdout), (
        answer.stderr
    )
    (edit,) = loads(trainer.changelog.read_bytes()).edits
    assert edit.values == {"optim.lr": 0.2, "optim.betas": [0.5]}
    assert (edit.note or "").endswith(": by hand")
    opened = (tmp_path / "seen").read_text()
    assert "  # float\n  lr: 0.1\n" in opened
    assert "batch_size" not in opened  # it is locked
    assert list((tmp_path / "tmp").iterdir()) == []


def test_edit_without_a_change_does_nothing(cli: Cli, trainer: RunDir, tmp_path: Path, editor: Editor) -> None:
    editor()
    answer = cli("edit", "Norm_new")
    assert (answer.returncode, answer.stdout) == (0, "nothing to do\n")
    assert loads(trainer.changelog.read_bytes()).edits == []
    assert not list(trainer.inbox.iterdir())


def test_edit_opens_again_what_is_refused_with_the_reason_above(
    cli: Cli, trainer: RunDir, tmp_path: Path, editor: Editor
) -> None:
    editor(("lr: 0.1", "lr: fast"), ("lr: fast", "lr: ["), ("lr: [", "lr: 0.25"))
    answer = cli("edit", "Norm_new")
    assert re.search(r": optim\.lr=0\.25; read at step \d+\n$", answer.stdout), answer.stderr
    first, second, third = (tmp_path / "seen").read_text().split("=====")
    assert not first.startswith("#!")
    assert second.startswith("#! optim.lr=fast: the key takes a number (float)\n")
    assert third.startswith("#! the text cannot be read: it is not YAML")
    assert third.count("#!") == 1
    assert len(loads(trainer.changelog.read_bytes()).edits) == 1


def test_edit_is_given_up_by_leaving_the_refused_text_as_it_is(
    cli: Cli, trainer: RunDir, tmp_path: Path, editor: Editor
) -> None:
    editor(("lr: 0.1", "lr: fast"))
    answer = cli("edit", "Norm_new")
    assert_refused(answer, "optim.lr=fast: the key takes a number")
    (kept,) = re.findall(r"the text is kept in (\S+)", answer.stderr)
    assert "lr: fast" in Path(kept).read_text()
    assert loads(trainer.changelog.read_bytes()).edits == []


@pytest.mark.slow
def test_edit_without_an_editor_or_a_run_is_one_sentence(
    cli: Cli, trainer: RunDir, tmp_path: Path, editor: Editor, environment: dict[str, str]
) -> None:
    editor(("lr: 0.1", "lr: 0.2"), code=3)
    assert_refused(cli("edit", "Norm_new"), "the editor '.*' ended with exit code 3; nothing was changed")
    environment["VISUAL"] = "no-such-editor"
    assert_refused(cli("edit", "Norm_new"), r"the editor 'no-such-editor' cannot be started .*\$VISUAL or \$EDITOR")
    assert list((tmp_path / "tmp").iterdir()) == []
    finished(tmp_path / "outputs" / "done")
    assert_refused(cli("edit", "done"), "is not running")
