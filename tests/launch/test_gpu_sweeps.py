"""Real sweeps on the GPUs of a recorded driver: each job sees its own device, and two sweeps never the same one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import amd_driver
import gpu_driver
import pytest
from gpu_driver import UUIDS
from test_display_terminal import on_pty

# this one lists them the other way round
DRIVER = gpu_driver.DRIVER.replace("return index", "return 1 - index")

APP = """
import os, time
import hydra

def note(*words):
    with open(os.path.join(os.path.dirname(__file__), "ran.txt"), "a") as file:
        file.write(" ".join(words) + "\\n")

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    device = os.environ["CUDA_VISIBLE_DEVICES"]
    note("begin", device, os.environ["CUDA_DEVICE_ORDER"], os.environ["TRAINCTL_SLOT"], os.environ["OMP_NUM_THREADS"])
    time.sleep(0.1)  # the work
    note("end", device)

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def gpu_app(app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "driver").mkdir()
    (tmp_path / "driver" / "pynvml.py").write_text(DRIVER)
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "driver"), prepend=":")
    return app


def noted(app: Any, word: str) -> list[list[str]]:
    return [line.split()[1:] for line in app.ran() if line.startswith(word)]


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_each_job_sees_its_device_and_its_share_of_cores(gpu_app: Any, start: str) -> None:
    done = gpu_app.run("x=range(0,4)", f"hydra.launcher.start={start}", "hydra.launcher.min_free_mib=1000")
    assert done.returncode == 0, done.stderr
    seen = noted(gpu_app, "begin")
    assert len(seen) == 4
    assert {(uuid, order, slot) for uuid, order, slot, _ in seen} == {
        (UUIDS[0], "PCI_BUS_ID", "0"),
        (UUIDS[1], "PCI_BUS_ID", "1"),
    }
    assert all(int(threads) >= 1 for *_, threads in seen)


def test_two_sweeps_at_once_never_use_a_device_together(gpu_app: Any) -> None:
    sweeps = [gpu_app.start("x=range(0,5)", f"hydra.sweep.dir={name}") for name in ("one", "two")]
    outputs = [sweep.communicate(timeout=120)[0] for sweep in sweeps]
    assert [sweep.returncode for sweep in sweeps] == [0, 0], outputs
    lines = [line.split()[:2] for line in gpu_app.ran()]
    for uuid in UUIDS:
        words = [word for word, device in lines if device == uuid]
        assert words == ["begin", "end"] * (len(words) // 2)
    assert len(lines) == 20
    assert {device for _, device in lines} == set(UUIDS)


def test_gpu_that_is_too_small_is_said_before_any_job_starts(gpu_app: Any) -> None:
    done = gpu_app.run("x=1,2", "hydra.launcher.min_free_mib=100000")
    assert done.returncode != 0
    assert "hydra.launcher.min_free_mib=100000 is more than GPU 0 (GPU) has: 81920 MiB" in done.stderr
    assert gpu_app.ran() == []


def test_memory_of_each_slot_is_shown_on_a_terminal(gpu_app: Any) -> None:
    pictures: list[str] = []
    command = gpu_app.command("x=range(0,4)")
    on_pty(command, gpu_app.path, 120, 24, lambda screen: pictures.append("\n".join(screen.shown())))
    assert any(picture.count("10.0/80 GiB") == 2 for picture in pictures)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_job_that_opens_no_gpu_does_not_delay_the_next(gpu_app: Any, start: str) -> None:
    done = gpu_app.run("x=range(0,3)", "hydra.launcher.slots=[0]", f"hydra.launcher.start={start}")
    assert done.returncode == 0, done.stderr
    assert "waiting" not in done.stderr, "a slot was free, and its device was still held by a job that had ended"


VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
SEEN = f"""
import os
import hydra

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    return {{name: os.environ.get(name) for name in {VARIABLES!r}}}

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def seeing(gpu_app: Any) -> Any:
    """An app whose result is what it sees, on a machine without NVIDIA's driver."""
    driver = gpu_app.path / "driver/pynvml.py"
    fails = "def nvmlInit(): raise NVMLError_LibraryNotFound('no such library')"
    driver.write_text(driver.read_text().replace("def nvmlInit(): pass", fails))
    (gpu_app.path / "app.py").write_text(SEEN)
    return gpu_app


def seen(app: Any, *overrides: str, **environment: str) -> tuple[list[tuple[str | None, ...]], str]:
    """Return what two jobs have seen of CUDA, HIP, ROCR and ZE, and what was said."""
    done = app.run("x=1,2", *overrides, **environment)
    assert done.returncode == 0, done.stderr
    results = [app.yaml(f"{number}/result.yaml")["value"] for number in range(2)]
    return [tuple(result[name] for name in VARIABLES) for result in results], done.stdout + done.stderr


@pytest.mark.slow
def test_jobs_on_amd_gpus_see_their_own(seeing: Any) -> None:
    (seeing.path / "driver/amdsmi.py").write_text(amd_driver.LIBRARY)
    values, said = seen(seeing, ROCR_VISIBLE_DEVICES="3,1,")
    assert values == [("0", "0", "3,1,", None), ("1", "1", "3,1,", None)]
    assert "on slot 3" in said
    assert "on slot 1" in said
    values, _ = seen(seeing, "hydra.launcher.slots=[2]", "hydra.launcher.rerun=all", "hydra.launcher.min_free_mib=1000")
    assert values == [("2", "2", None, None)] * 2


def test_list_is_used_as_it_stands_where_nobody_can_be_asked(seeing: Any) -> None:
    values, said = seen(seeing, "hydra.launcher.slots=[0,1]", ROCR_VISIBLE_DEVICES="0,1")
    assert values == [("0", "0", "0,1", "0"), ("1", "1", "0,1", "1")]
    assert said.count("hydra.launcher.slots=[0,1] is used as it is") == 1


def test_auto_says_what_it_cannot_count_and_hides_nothing(seeing: Any) -> None:
    values, said = seen(seeing, ROCR_VISIBLE_DEVICES="0,1", ZE_AFFINITY_MASK="2")
    assert values == [(None, None, "0,1", "2")] * 2
    assert said.count("GPUs cannot be counted here") == 1
    assert "ROCR_VISIBLE_DEVICES=0,1 names some): each job sees all of them; name them, as in" in said
