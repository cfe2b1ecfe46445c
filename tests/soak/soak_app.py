"""A Hydra app that trains for real: softmax regression on handwritten digits, with checkpoints, the same each time."""

from __future__ import annotations

from pathlib import Path

from sweep_app import App

SOURCE = """
import hashlib, os, time
import hydra, numpy as np, trainctl
from hydra.core.hydra_config import HydraConfig
from sklearn.datasets import load_digits

IMAGES, LABELS = load_digits(return_X_y=True)
IMAGES = IMAGES / 16

def note(text):
    file = os.open(os.path.join(os.path.dirname(__file__), "ran.txt"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{text}\\n".encode())
    os.close(file)

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    place = HydraConfig.get().runtime.output_dir
    note(f"start {os.path.relpath(place, cfg.home)}")
    live = trainctl.live(cfg)
    weights, velocity = np.zeros((64, 10)), np.zeros((64, 10))
    checkpoint = os.path.join(place, "model.npz")
    if os.path.exists(checkpoint):
        with np.load(checkpoint) as stored:
            weights, velocity = stored["weights"], stored["velocity"]
            live.resume(int(stored["step"]))
    while live.step_number < cfg.steps:
        step = live.step()
        rows = np.random.default_rng([cfg.x, step]).integers(len(LABELS), size=32)
        scores = IMAGES[rows] @ weights
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        loss = -np.log(shares[np.arange(32), LABELS[rows]] + 1e-9).mean()
        shares[np.arange(32), LABELS[rows]] -= 1
        velocity = cfg.optim.momentum * velocity - cfg.optim.lr * IMAGES[rows].T @ shares / 32
        weights = weights + velocity
        live.log(loss=float(loss), weight=float(np.abs(weights).sum()))
        if step % 40 == 0:
            with open(checkpoint + ".new", "wb") as file:
                np.savez(file, weights=weights, velocity=velocity, step=step)
            os.replace(checkpoint + ".new", checkpoint)
        time.sleep(cfg.pause_s)
    note(f"end {os.path.relpath(place, cfg.home)}")
    return hashlib.sha256(weights.tobytes()).hexdigest()

if __name__ == "__main__":
    main()
"""


def soak_app(path: Path, home: Path) -> App:
    """Write the app; its sweeps go below `home`."""
    (path / "app.py").write_text(SOURCE)
    (path / "conf").mkdir()
    config = (
        f"x: 0\nsteps: 300\npause_s: 0.03\nhome: {home}\noptim: {{lr: 0.1, momentum: 0.5}}\n"
        "trainctl: {panel: {enabled: false}, identity: {exclude: [home, pause_s]}}\n"
    )
    (path / "conf" / "config.yaml").write_text(config)
    return App(path)
