"""Every start of every Hydra app imports our plugin modules: they must stay light."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "mlflow",
    "wandb",
    "panel",
    "bokeh",
    "tornado",
    "pandas",
    "numpy",
    "torch",
    "pynvml",
    "typer",
    "rich",
    "ray",
    "submitit",
}

SCAN = """
import importlib, json, pkgutil, sys, time
import hydra.core.plugins, hydra.experimental.callback, omegaconf
import hydra_plugins.hydra_joblib_launcher.joblib_launcher
before, start = set(sys.modules), time.perf_counter()
package = importlib.import_module({package!r})
names = [info.name for info in pkgutil.walk_packages(package.__path__, package.__name__ + ".")] if {walk} else []
for name in names:
    importlib.import_module(name)
print(json.dumps([names, sorted(set(sys.modules) - before), time.perf_counter() - start]))
"""


@pytest.mark.parametrize(("package", "walk"), [("hydra_plugins.hydra_trainctl", True), ("trainctl", False)])
def test_import_loads_nothing_heavy(package: str, walk: bool) -> None:
    code = SCAN.format(package=package, walk=walk)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    names, added, seconds = json.loads(done.stdout)
    print(f"importing {package} adds {seconds * 1000:.0f} ms and {len(added)} modules")
    assert bool(names) == walk
    assert {name.split(".")[0] for name in added} & HEAVY == set()


SWEEP = """
import sys
import hydra

@hydra.main(version_base=None)
def main(cfg):
    return "joblib" in sys.modules, "numpy" in sys.modules  # NumPy is seeded in a job, whenever the task imports it

if __name__ == "__main__":
    main()
    print("joblib" in sys.modules)
"""


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_what_a_job_needs_is_loaded_for_jobs_and_not_in_the_launcher(tmp_path: Path, start: str) -> None:
    (tmp_path / "train.py").write_text(SWEEP)
    options = ["hydra/launcher=slots", f"hydra.launcher.start={start}", "hydra.sweep.dir=out", "+x=1"]
    done = subprocess.run(
        [sys.executable, "train.py", "-m", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.splitlines()[-1] == "False"
    assert (tmp_path / "out" / "0" / "result.yaml").read_text().startswith("value:\n- true\n- true\n")
