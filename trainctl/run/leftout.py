"""What a sweep dir says of the jobs that were left out."""

from __future__ import annotations

from pathlib import Path

from trainctl.run import files


def left_out_file(sweep_dir: Path) -> Path:
    """Return the file with the overrides of jobs that the last sweep there left out, and why."""
    return sweep_dir / ".trainctl" / "left_out.yaml"


def left_out(sweep_dir: Path) -> dict[str, str]:
    """Return why jobs were left out, by their overrides; nothing where none were."""
    return {str(overrides): str(why) for overrides, why in files.read_mapping(left_out_file(sweep_dir)).items()}
