"""The demo's data and networks in NumPy: 1,797 real images of digits, whole or row by row; dense, recurrent layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Samples:
    images: Array  # (samples, values), or (samples, steps, values) of a sequence
    labels: NDArray[np.int64]  # (samples,)

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1

    def sample(self, size: int, rng: np.random.Generator) -> Samples:
        """Draw a minibatch, with replacement."""
        rows = rng.integers(len(self.labels), size=size)
        return Samples(self.images[rows], self.labels[rows])


def read_samples(name: str) -> tuple[Array, NDArray[np.int64]]:
    """Read the data and the target of `sklearn.datasets.load_digits()` or `load_wine()`.

    Importing scikit-learn takes longer than most runs of the demo; its files are read without it.
    """
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("the demo's data come with scikit-learn: pip install 'hydra-trainctl[demo]'")
    folder = Path(found.origin).parent / "datasets" / "data"
    if name == "wine":
        rows = np.loadtxt(folder / "wine_data.csv", delimiter=",", skiprows=1)
    else:
        rows = np.loadtxt(folder / "digits.csv.gz", delimiter=",")
    return rows[:, :-1], rows[:, -1].astype(np.int64)


def load_task(name: str) -> tuple[Samples, Samples]:
    """Return training and test samples; every fourth sample is for the test."""
    data, target = read_samples(name)
    data = data / (data.max(0) if name == "wine" else 16)
    tasks = {"digits": target, "digits_sequence": target, "parity": target % 2, "wine": target}
    if name not in tasks:
        raise ValueError(f"task.name={name!r} is not known; allowed are {sorted(tasks)}")
    images, is_test = data.reshape(-1, 8, 8) if name == "digits_sequence" else data, np.arange(len(data)) % 4 == 0
    return Samples(images[~is_test], tasks[name][~is_test]), Samples(images[is_test], tasks[name][is_test])


class Layer:
    """Pass values on unchanged; `params` and `grads` are parallel lists, changed in place."""

    def __init__(self) -> None:
        self.params: list[Array] = []
        self.grads: list[Array] = []

    def forward(self, x: Array, training: bool) -> Array:
        return x

    def backward(self, grad: Array) -> Array:
        return grad

    def add(self, value: Array) -> Array:
        self.params.append(value)
        self.grads.append(np.zeros_like(value))
        return value


class Dense(Layer):
    """Multiply by a weight and add a bias; He initialisation."""

    def __init__(self, inputs: int, outputs: int, rng: np.random.Generator) -> None:
        super().__init__()
        self.weight = self.add(rng.normal(0, math.sqrt(2 / inputs), (inputs, outputs)))
        self.bias = self.add(np.zeros(outputs))

    def forward(self, x: Array, training: bool) -> Array:
        self.x = x
        y: Array = x @ self.weight + self.bias
        return y

    def backward(self, grad: Array) -> Array:
        self.grads[0][:] = self.x.T @ grad
        self.grads[1][:] = grad.sum(0)
        down: Array = grad @ self.weight.T
        return down


class ReLU(Layer):
    """Cut off below zero."""

    def forward(self, x: Array, training: bool) -> Array:
        self.is_positive = x > 0
        return x * self.is_positive

    def backward(self, grad: Array) -> Array:
        return grad * self.is_positive


class LayerNorm(Layer):
    """Normalise by the moments along `axis`, then scale and shift by learned values (Ba et al. 2016)."""

    axis = 1
    eps = 1e-5

    def __init__(self, width: int, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.scale = self.add(np.ones(width))
        self.shift = self.add(np.zeros(width))

    def moments(self, x: Array, training: bool) -> tuple[Array, Array, float]:
        """Return the mean and variance to normalise by, and the share of them that `x` itself has."""
        return x.mean(self.axis, keepdims=True), x.var(self.axis, keepdims=True), 1.0

    def forward(self, x: Array, training: bool) -> Array:
        mean, variance, self.share = self.moments(x, training)
        self.inverse = 1 / np.sqrt(variance + self.eps)
        self.centred = x - x.mean(self.axis, keepdims=True)
        self.normal = (x - mean) * self.inverse
        y: Array = self.normal * self.scale + self.shift
        return y

    def backward(self, grad: Array) -> Array:
        self.grads[0][:] = (grad * self.normal).sum(0)
        self.grads[1][:] = grad.sum(0)
        by_mean = (grad := grad * self.scale).mean(self.axis, keepdims=True)
        by_variance = self.centred * self.inverse * (grad * self.normal).mean(self.axis, keepdims=True)
        down: Array = self.inverse * (grad - self.share * (by_mean + by_variance))
        return down


class BatchNorm(LayerNorm):
    """Normalise by the moments of the batch; by their running averages in evaluation (Ioffe and Szegedy 2015)."""

    axis = 0
    running: tuple[Array, Array] | None = None

    def moment(self) -> float:
        """Return the weight of the running moments in training."""
        return 0.0

    def moments(self, x: Array, training: bool) -> tuple[Array, Array, float]:
        if not training and self.running is not None:
            return *self.running, 0.0
        mean, variance, _ = super().moments(x, training)
        old_mean, old_variance = self.running or (mean, variance)
        decay, weight = self.config["decay"], self.moment()
        self.running = (decay * old_mean + (1 - decay) * mean, decay * old_variance + (1 - decay) * variance)
        return (
            weight * old_mean + (1 - weight) * mean,
            weight * old_variance + (1 - weight) * variance,
            1 - weight,
        )


class NewNorm(BatchNorm):
    """Normalise by `moment` of the running moments plus `1 - moment` of the batch's.

    The running moments are constants for the gradient. With `moment=0` this is batch normalisation. The larger it is,
    the less a sample's output depends on who else is in its batch, and the later it follows the weights: it helps small
    batches (the demo's 8) and hurts deep networks (`model=deep norm.moment=0.9`).
    """

    def moment(self) -> float:
        return float(self.config["moment"])


NORMS: dict[str, type[LayerNorm]] = {"batch": BatchNorm, "layer": LayerNorm, "new": NewNorm}


def build_norm(width: int, config: Mapping[str, Any]) -> Layer:
    """Return the layer that `config` names; `none` passes values on."""
    name = config["name"]
    if name == "none":
        return Layer()
    if name not in NORMS:
        raise ValueError(f"norm.name={name!r} is not known; allowed are {sorted([*NORMS, 'none'])}")
    return NORMS[name](width, config)


class Network:
    """Dense layers, each but the last followed by normalisation and ReLU; softmax cross-entropy at the end."""

    def __init__(
        self, inputs: int, hidden: Sequence[int], classes: int, norm: Mapping[str, Any], rng: np.random.Generator
    ) -> None:
        self.layers: list[Layer] = []
        for width in hidden:
            self.layers += [Dense(inputs, width, rng), build_norm(width, norm), ReLU()]
            inputs = width
        self.layers.append(Dense(inputs, classes, rng))

    def forward(self, images: Array, training: bool = False) -> Array:
        """Return the scores of each class, (samples, classes)."""
        for layer in self.layers:
            images = layer.forward(images, training)
        return images

    def backpropagate(self, batch: Samples) -> tuple[float, float]:
        """Set every layer's gradients; return the batch's mean loss and its accuracy."""
        scores = self.forward(batch.images, training=True)
        rows = np.arange(len(batch.labels))
        shifted = scores - scores.max(1, keepdims=True)
        log_probabilities = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        grad: Array = np.exp(log_probabilities)
        grad[rows, batch.labels] -= 1
        grad /= len(rows)
        for layer in reversed(self.layers):
            grad = layer.backward(grad)
        accuracy = (scores.argmax(1) == batch.labels).mean()
        return float(-log_probabilities[rows, batch.labels].mean()), float(accuracy)

    def accuracy(self, samples: Samples) -> float:
        """Return the share of samples whose highest score is their label's."""
        return float((self.forward(samples.images).argmax(1) == samples.labels).mean())


class Recurrent(Layer):
    """Read a sequence step by step into `width` numbers (Elman 1990); backward through time."""

    def __init__(self, inputs: int, width: int, rng: np.random.Generator) -> None:
        super().__init__()
        self.weight = self.add(rng.normal(0, math.sqrt(1 / inputs), (inputs, width)))
        self.loop = self.add(np.linalg.qr(rng.normal(size=(width, width)))[0])
        self.bias = self.add(np.zeros(width))

    def forward(self, x: Array, training: bool) -> Array:
        self.x, self.states = x, [np.zeros((len(x), len(self.bias)))]
        for step in range(x.shape[1]):
            self.states.append(np.tanh(x[:, step] @ self.weight + self.states[-1] @ self.loop + self.bias))
        return self.states[-1]

    def backward(self, grad: Array) -> Array:
        down = np.zeros_like(self.x)
        self.grads[0][:] = self.grads[1][:] = self.grads[2][:] = 0
        for step in reversed(range(self.x.shape[1])):
            grad = grad * (1 - self.states[step + 1] ** 2)
            for own, seen in zip(self.grads, (self.x[:, step].T, self.states[step].T, np.ones(len(grad))), strict=True):
                own += seen @ grad
            down[:, step] = grad @ self.weight.T
            grad = grad @ self.loop.T
        return down


class Mean(Layer):
    """Average a sequence's steps: their order is lost."""

    def forward(self, x: Array, training: bool) -> Array:
        self.steps = x.shape[1]
        return np.asarray(x.mean(1))

    def backward(self, grad: Array) -> Array:
        return np.repeat(grad[:, None] / self.steps, self.steps, axis=1)


def build_network(
    model: Mapping[str, Any], data: Samples, norm: Mapping[str, Any], rng: np.random.Generator
) -> Network:
    """Return the network that `model` describes; one for sequences has a layer that makes one vector of the steps."""
    name = model["name"]
    inputs = model[{"rnn": "width", "bag": "inputs"}[name]] if name in ("rnn", "bag") else data.images.shape[-1]
    network = Network(inputs, model["hidden"], data.classes, norm, rng)
    if name in ("rnn", "bag"):
        network.layers.insert(0, Mean() if name == "bag" else Recurrent(model["inputs"], model["width"], rng))
    return network


class SGD:
    """Move against the mean of exponentially averaged gradients, one average per entry of `betas`.

    `[0.0]` is plain SGD, `[0.9]` momentum, `[0.0, 0.9, 0.99]` aggregated momentum (Lucas et al. 2019). The list may
    change in length from step to step: a new average starts at zero.
    """

    def __init__(self, network: Network) -> None:
        self.layers = network.layers
        self.averages: list[list[Array]] = []

    def step(self, lr: float, betas: Sequence[float], weight_decay: float) -> None:
        params = [param for layer in self.layers for param in layer.params]
        grads = [grad for layer in self.layers for grad in layer.grads]
        del self.averages[len(betas) :]
        while len(self.averages) < len(betas):
            self.averages.append([np.zeros_like(param) for param in params])
        for beta, averages in zip(betas, self.averages, strict=True):
            for param, grad, average in zip(params, grads, averages, strict=True):
                average += (1 - beta) * (grad + weight_decay * param - average)
                param -= lr / len(betas) * average


def schedule_factor(schedule: Mapping[str, Any], done: float) -> float:
    """Return what to multiply the learning rate by after the share `done` of all steps.

    >>> schedule_factor({"name": "step", "milestones": [0.5, 0.8], "gamma": 0.1}, 0.6)
    0.1
    """
    name = schedule["name"]
    if name == "constant":
        return 1.0
    if name == "cosine":
        floor = float(schedule["floor"])
        return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2
    if name == "step":
        passed = sum(done > milestone for milestone in schedule["milestones"])
        return float(schedule["gamma"] ** passed)
    raise ValueError(f"schedule.name={name!r} is not known; allowed are ['constant', 'cosine', 'step']")
