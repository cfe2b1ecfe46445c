"""Test a saved support vector machine on digits that it has not seen."""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path

from sklearn.datasets import load_digits

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", type=Path, required=True)
model = pickle.loads(parser.parse_args().model.read_bytes())
images, labels = load_digits(return_X_y=True)
print(f"accuracy {(model.predict(images[1297:]) == labels[1297:]).mean():.4f}")
