"""A Hydra app whose jobs train for a while, log what they do, and may leave a child behind.

While there is a file `hold` beside it, a training stays in its second step.
"""

from __future__ import annotations

from pathlib import Path

from sweep_app import App

SOURCE = """
import os, subprocess, time
import hydra, trainctl

STEPS = (1, 25, 3, 12, 0, 8)  # so jobs end in another order than they start in

def note(text):
    path = os.path.join(os.path.dirname(__file__), "ran.txt")
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{text}\\n".encode())
    os.close(file)

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    note(f"start {cfg.x}")
    if cfg.family:
        subprocess.Popen(["sleep", "300"])
    live = trainctl.live(cfg)
    total = 0.0
    for step in live.track(range(STEPS[cfg.x % len(STEPS)])):
        time.sleep(0.01)
        while step == 1 and os.path.exists(os.path.join(os.path.dirname(__file__), "hold")):
            time.sleep(0.01)
        total += cfg.lr * cfg.x
        live.log(loss=1 / (1 + total))
    note(f"end {cfg.x}")
    return total

if __name__ == "__main__":
    main()
"""

STEPS = (1, 25, 3, 12, 0, 8)
LR = 0.5


def training_app(path: Path) -> App:
    (path / "app.py").write_text(SOURCE)
    (path / "conf").mkdir()
    (path / "conf" / "config.yaml").write_text(f"x: 0\nlr: {LR}\nfamily: false\n")
    return App(path)


def result_of(x: int) -> float:
    return sum(LR * x for _ in range(STEPS[x % len(STEPS)]))
