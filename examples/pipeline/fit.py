"""Fit a support vector machine to handwritten digits, and save it."""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path

from sklearn.datasets import load_digits
from sklearn.svm import SVC

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", type=Path, required=True)
parser.add_argument("--kernel", default="rbf")
parser.add_argument("--strength", type=float, default=1.0)
given = parser.parse_args()
images, labels = load_digits(return_X_y=True)
model = SVC(kernel=given.kernel, C=given.strength).fit(images[:1297], labels[:1297])
given.model.write_bytes(pickle.dumps(model))
print(f"{len(model.support_)} support vectors")
