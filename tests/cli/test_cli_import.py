"""`trainctl import trainconfig`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from made import Cli, assert_refused

CONFIG = "lr[float|1e-6|1|log]: 1.0e-4\nsub!:\n  weight-decay: 0.1\nb: [foo, [1, 2]]\nsteps[int|1|100]!: 12\n"
CHANGELOG = (
    "0: {lr: 0.0001, sub: {weight: 0.1}, b: [foo, [1, 2]], steps: 12}\n3: {lr: 0.01, b: {1: {0: 5}}}\n9: {lr: 0.002}\n"
)
TRAINING = """
import hydra, trainctl

@hydra.main(version_base=None, config_path="imported/conf", config_name="config")
def main(cfg):
    live = trainctl.live(cfg)
    for step in live.track(range(cfg.steps)):
        print(live.step_number, cfg.lr, cfg.b[1][0], flush=True)

main()
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "changelog.yaml").write_text(CHANGELOG)
    return tmp_path


def test_imported_config_trains_and_its_changelog_is_repeated(
    cli: Cli, files: Path, environment: dict[str, str]
) -> None:
    answer = cli("import", "trainconfig", "config.yaml", "changelog.yaml")
    assert answer.stdout.splitlines() == [
        "wrote imported/conf/config.yaml",
        "wrote imported/changelog.yaml",
        "its edits again: trainctl.replay=imported/changelog.yaml",
    ]
    assert (answer.returncode, answer.stderr) == (0, "")
    (files / "train.py").write_text(TRAINING)
    trained = subprocess.run(
        [sys.executable, "train.py", "trainctl.replay=imported/changelog.yaml", "trainctl.panel.enabled=false"],
        cwd=files, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    assert [line for line in trained.stdout.splitlines() if not line.startswith("[")] == [
        f"{step} {0.0001 if step < 3 else 0.01 if step < 9 else 0.002} {1 if step < 3 else 5}" for step in range(1, 13)
    ]


def test_import_writes_over_nothing_and_all_or_none(cli: Cli, files: Path) -> None:
    (files / "mine").mkdir()
    (files / "mine" / "changelog.yaml").write_text("precious")
    arguments = ("import", "trainconfig", "config.yaml", "changelog.yaml", "--to", "mine")
    assert_refused(cli(*arguments), "mine/changelog.yaml exists already; nothing was written, give another directory")
    assert (files / "mine" / "changelog.yaml").read_text() == "precious"
    assert not (files / "mine" / "conf").exists()
    (files / "mine" / "changelog.yaml").unlink()
    (files / "mine" / "changelog.yaml").symlink_to("elsewhere")
    assert_refused(cli(*arguments), "mine/changelog.yaml exists already")
    assert cli("import", "trainconfig", "config.yaml", "--to", "mine").stdout == "wrote mine/conf/config.yaml\n"


def test_import_names_what_it_could_not_carry(cli: Cli, files: Path) -> None:
    (files / "config.yaml").write_text("lr[colour]: 1\n")
    answer = cli("import", "trainconfig", "config.yaml")
    assert answer.returncode == 0
    assert answer.stderr == "lr: the modifier '[colour]' does not fit a control; left out\n"


def test_import_of_no_config_is_one_sentence(cli: Cli, files: Path) -> None:
    assert_refused(cli("import", "trainconfig", "gone.yaml"), "there is no file 'gone.yaml'")
    (files / "config.yaml").write_text("- 1")
    assert_refused(
        cli("import", "trainconfig", "config.yaml"), "config.yaml is not a config of trainconfig: it must be"
    )
    (files / "config.yaml").write_bytes(b"\xff")
    assert_refused(cli("import", "trainconfig", "config.yaml"), "config.yaml is not UTF-8 text")
    assert not (files / "imported").exists()
