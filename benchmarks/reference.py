"""What the systems must compute, in plain NumPy."""

from __future__ import annotations

import numpy as np

from benchmarks import workloads
from benchmarks.workloads import Batch, Inputs

Floats = np.ndarray


class Reference:
    """The rows that some batches touch, and what becomes of them.

    `bias_corrected`: Adam as torch has it. Doubles throughout.
    """

    def __init__(
        self, inputs: Inputs, batches: list[int], bias_corrected: bool = False
    ):
        self._inputs = inputs
        self._bias_corrected = bias_corrected
        self._steps = 0
        self._ids = []
        self._weights = []
        self._slots = []
        setting = inputs.setting
        for t in range(setting.workload.tables):
            ids = [inputs.batches[b].of_table(t)[0] for b in batches]
            self._ids.append(np.unique(np.concatenate(ids)))
            self._weights.append(inputs.rows(t, self._ids[t]).astype(np.float64))
            initial = workloads.INITIAL_ACCUMULATOR
            first = 0.0 if setting.optimizer == "adam" else initial
            shape = self._weights[t].shape
            self._slots.append([np.full(shape, first), np.zeros(shape)])

    def _coefficients(self, batch: Batch, t: int) -> tuple[Floats, Floats, Floats]:
        """Of each id its place among the touched rows, its bag, its factor."""
        ids, splits, weights = batch.of_table(t)
        sizes = np.diff(splits)
        bags = np.repeat(np.arange(len(sizes)), sizes)
        factors = np.ones(len(ids)) if weights is None else weights.astype(np.float64)
        if self._inputs.setting.workload.combiner == "mean":
            factors = factors / sizes[bags]
        return np.searchsorted(self._ids[t], ids), bags, factors

    def forward(self, b: int) -> Floats:
        """[tables, batch, dim]."""
        batch, w = self._inputs.batches[b], self._inputs.setting.workload
        outputs = []
        for t in range(w.tables):
            places, _, factors = self._coefficients(batch, t)
            rows = self._weights[t][places] * factors[:, np.newaxis]
            starts = batch.splits[t, :-1] - batch.splits[t, 0]
            outputs.append(np.add.reduceat(rows, starts))
        return np.stack(outputs)

    def step(self, b: int) -> None:
        batch = self._inputs.batches[b]
        self._steps += 1
        for t in range(self._inputs.setting.workload.tables):
            places, bags, factors = self._coefficients(batch, t)
            order = np.argsort(places, kind="stable")
            parts = self._inputs.gradients[t][bags[order]]
            parts = parts * factors[order, np.newaxis]
            touched, starts = np.unique(places[order], return_index=True)
            gradient = np.add.reduceat(parts, starts)
            self._update(t, touched, gradient)

    def _update(self, t: int, touched: Floats, g: Floats) -> None:
        rate = workloads.LEARNING_RATE
        w = self._weights[t]
        first, second = self._slots[t]
        optimizer = self._inputs.setting.optimizer
        if optimizer == "sgd":
            w[touched] -= rate * g
        elif optimizer == "adagrad":
            first[touched] += g * g
            w[touched] -= rate * g / np.sqrt(first[touched])
        elif optimizer == "adam":
            beta_1, beta_2 = workloads.ADAM["beta_1"], workloads.ADAM["beta_2"]
            first[touched] = beta_1 * first[touched] + (1 - beta_1) * g
            second[touched] = beta_2 * second[touched] + (1 - beta_2) * g * g
            if self._bias_corrected:
                rate *= np.sqrt(1 - beta_2**self._steps) / (1 - beta_1**self._steps)
            denominator = np.sqrt(second[touched]) + workloads.ADAM["epsilon"]
            w[touched] -= rate * first[touched] / denominator
        elif optimizer == "ftrl":
            l1, l2 = workloads.FTRL["l1"], workloads.FTRL["l2"]
            old = np.sqrt(first[touched])
            first[touched] += g * g
            new = np.sqrt(first[touched])
            second[touched] += g - (new - old) / rate * w[touched]
            linear = second[touched]
            w[touched] = (np.clip(linear, -l1, l1) - linear) / (new / rate + 2 * l2)


def check(system: str, what: str, actual: Floats, expected: Floats, tolerance: float):
    """Raises ValueError where the results are not the same."""
    if actual.shape != expected.shape:
        raise ValueError(f"{system}: {what} has {actual.size} numbers, not as expected")
    error = np.abs(actual - expected)
    worst = np.unravel_index(np.argmax(error), error.shape)
    if not error[worst] <= tolerance * (1 + np.abs(expected).max()):
        table, position, column = worst
        raise ValueError(
            f"{system}: {what} is wrong at table {table}, position {position},"
            f" column {column}: {actual[worst]}, expected {expected[worst]}"
        )
