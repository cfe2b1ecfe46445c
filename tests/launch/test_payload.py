"""A job in a fresh interpreter runs the program's own functions, wherever they stand, and its tracebacks say where."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from trainctl.config import yaml

HEAD = """
import sys
import hydra
from hydra.core.config_store import ConfigStore

ConfigStore.instance().store("config", {"x": 1, "fail": False})
run = hydra.main(version_base=None, config_path=None, config_name="config")
"""
TASK = """
class Thing:
    def __init__(self, by): self.by = by

THING = Thing(3)

def times(cfg):
    assert type(THING) is Thing
    if cfg.fail: raise ValueError("it broke")
    return THING.by * cfg.x
"""
CLOSURE = """
def made(thing):
    def task(cfg):
        assert isinstance(thing, Thing) and sys.modules["__main__"].Thing is Thing
        return times(cfg)
    return task

if __name__ == "__main__": run(made(THING))()
"""
GUARDED = """
if __name__ == "__main__":
    class Other:
        by = 1

    def task(cfg): return Other.by * times(cfg)

    run(task)()
"""
BY_PATH = """
import importlib.util
spec = importlib.util.spec_from_file_location("lib", "elsewhere/odd.py")
sys.modules["lib"] = lib = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lib)
if __name__ == "__main__": run(lambda cfg: lib.times(cfg))()
"""
SEEN = """
import json, logging, os, pickle, subprocess, threading
log = logging.getLogger(__name__)
part = logging.getLogger(f"{__name__}.part")
calls = 0

def count():
    global calls
    calls += 1

def seen(cfg):
    count()
    code = "import os, sys; print(os.environ.get('PYTHONPATH'), [name for name in os.environ if 'IMPORTING' in name])"
    log.info("from %s", Thing.__module__)
    part.info("a part")
    return json.dumps({
        "names": [__name__, log.name, part.name, logging.getLogger(__name__).name, part.parent.name, seen.__module__],
        "main": [sys.modules["__main__"].calls, sys.modules["__main__"].__file__, sys.argv[0], sys.path],
        "environment": {name: os.environ.get(name) for name in ("PYTHONPATH", "PWD")},
        "child": subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout,
        "pickle": pickle.dumps(THING).decode("latin1"),
    })

if __name__ == "__main__": run(seen)()
"""
NOTEBOOK = """
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()  # as a kernel has
from pack.lib import run, times
def task(cfg): return times(cfg)
run(times if {imported} else task)()
"""
FROM_LIB = "from pack.lib import run, times; run(times)()"


def launch(
    folder: Path, program: tuple[str, ...], *overrides: str, start: str = "spawn"
) -> subprocess.CompletedProcess[str]:
    sweep = ["-m", "hydra/launcher=slots", f"hydra.launcher.start={start}", "hydra.launcher.slots=2"]
    return subprocess.run(
        [sys.executable, *program, *sweep, "hydra.sweep.dir=sweep", *overrides],
        cwd=folder, env=os.environ, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "odd.py").write_text("import sys\n" + TASK)
    (tmp_path / "plain.py").write_text(HEAD + TASK + 'if __name__ == "__main__": run(times)()\n')
    (tmp_path / "wrapped.py").write_text(HEAD + TASK + 'main = run(times)\nif __name__ == "__main__": main()\n')
    (tmp_path / "closure.py").write_text(HEAD + TASK + CLOSURE)
    (tmp_path / "guarded.py").write_text(HEAD + TASK + GUARDED)
    (tmp_path / "seen.py").write_text(HEAD + TASK + SEEN)
    (tmp_path / "by_path.py").write_text(HEAD + BY_PATH)
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").touch()
    (tmp_path / "pack" / "lib.py").write_text(HEAD + TASK)
    (tmp_path / "pack" / "__main__.py").write_text(HEAD + TASK + "run(times)()\n")
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("__main__.py", HEAD + TASK + "run(times)()\n")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    "program",
    [
        ("plain.py",),
        ("wrapped.py",),
        ("closure.py",),
        ("guarded.py",),
        ("by_path.py",),
        ("-m", "plain"),
        ("-m", "pack"),
        ("app.zip",),
        ("-c", FROM_LIB),
    ],
    ids=" ".join,
)
def test_task_function_is_found_in_a_fresh_interpreter(folder: Path, program: tuple[str, ...]) -> None:
    done = launch(folder, program, "x=1,2")
    assert done.returncode == 0, done.stderr
    assert [yaml.loads((folder / f"sweep/{job}/result.yaml").read_text())["value"] for job in (0, 1)] == [3, 6]


@pytest.mark.slow
def test_task_sees_in_a_fresh_interpreter_what_it_sees_in_a_forked_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(folder / "elsewhere"))
    seen = {}
    for start in ("fork", "spawn"):
        done = launch(folder, ("seen.py",), f"hydra.sweep.dir={start}", start=start)
        assert done.returncode == 0, done.stderr
        seen[start] = json.loads(yaml.loads((folder / start / "0/result.yaml").read_text())["value"])
        log = (folder / start / "0/seen.log").read_text()
        assert "[__main__][INFO] - from __main__" in log
        assert "[__main__.part][INFO] - a part" in log
    assert seen["spawn"] == seen["fork"]
    assert seen["spawn"]["child"].startswith(str(folder / "elsewhere"))


@pytest.mark.slow
@pytest.mark.parametrize("imported", [True, False])
def test_function_of_a_notebook_runs_in_jobs_without_being_asked_for_spawn(folder: Path, imported: bool) -> None:
    done = launch(folder, ("-c", NOTEBOOK.format(imported=imported)), "x=1,2", start="auto")
    assert done.returncode == 0, done.stderr
    assert [yaml.loads((folder / f"sweep/{job}/result.yaml").read_text())["value"] for job in (0, 1)] == [3, 6]


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_terminal_shows_of_a_failure_the_last_frames_of_the_program_alone(folder: Path, start: str) -> None:
    text = """
from omegaconf import OmegaConf
def load(cfg): return OmegaConf.create("{a: [")

def task(cfg): return load(cfg)

if __name__ == "__main__": run(task)()
"""
    (folder / "app.py").write_text(HEAD + text)
    done = launch(folder, ("app.py",), start=start)
    shown = done.stderr.partition("FAIL  1/1")[2].partition("full log:")[0]
    assert 'return OmegaConf.create("{a: [")' in shown
    frames = [line for line in shown.splitlines() if line.strip().startswith("File ") and ".py" in line]
    assert all(f'"{folder / "app.py"}"' in frame for frame in frames), shown
    assert frames[-1].endswith("in load")
    log = (folder / "sweep/0/job.log").read_text()
    assert "omegaconf" in log  # the way down is there
    assert "/trainctl/" not in log
    assert "hydra/core/utils.py" not in log


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "file"),
    [(("closure.py",), "closure.py"), (("-m", "pack"), "pack/__main__.py"), (("by_path.py",), "elsewhere/odd.py")],
)
def test_traceback_names_the_file_of_a_function_sent_by_value(
    folder: Path, program: tuple[str, ...], file: str
) -> None:
    text = (folder / file).read_text()
    line = 1 + text[: text.index("if cfg.fail")].count("\n")
    done = launch(folder, program, "fail=true")
    assert done.returncode == 1
    log = (folder / "sweep/0/job.log").read_text()
    assert "ValueError: it broke" in log
    assert f'{file}", line {line}, in times\n    if cfg.fail: raise ValueError("it broke")' in log


@pytest.mark.parametrize("imports", ["from pack import gone", ""], ids=["main", "task"])
def test_what_a_fresh_interpreter_cannot_load_is_said_in_one_sentence(folder: Path, imports: str) -> None:
    (folder / "pack" / "gone.py").write_text("def task(cfg): return 1\n")
    run = "import os\n    from pack import gone\n    os.remove(gone.__file__)\n    run(gone.task)()"
    (folder / "app.py").write_text(f'{HEAD}\n{imports}\nif __name__ == "__main__":\n    {run}\n')
    done = launch(folder, ("app.py",))
    assert done.returncode == 1
    assert "cannot be loaded in a fresh interpreter" in done.stderr, done.stderr
    assert "without an answer" not in done.stderr
