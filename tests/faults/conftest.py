from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import disk
from sweep_app import App
from training_app import training_app

__all__ = ["disk"]


@pytest.fixture
def training(tmp_path: Path) -> Iterator[App]:
    app = training_app(tmp_path)
    yield app
    app.end()
