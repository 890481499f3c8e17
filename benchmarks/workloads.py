"""The workloads, and the inputs of one of them as files for the workers.

A *setting* is a workload with a distribution of ids, an optimizer and a number
of threads. `write` puts into a folder what every worker of a setting reads:

    setting.txt        one `name value` a line
    table.f32          [base_rows, dim]; row i of table t is row i % base_rows
                       of it plus t / 8, so that no two tables are the same
    ids_B.i64          of batch B, the ids of table 0, then of table 1, ...
    splits_B.i64       [tables, batch + 1]: where bags begin and end in ids_B
    weights_B.f32      one per id, where the workload has weights
    gradients.f32      [tables, batch, dim], of the activations
"""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np

SEED = 20261121
LEARNING_RATE = 0.01
# Of Adagrad and FTRL.
INITIAL_ACCUMULATOR = 0.1
ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
FTRL = {"l1": 0.01, "l2": 0.01}
OPTIMIZERS = ("sgd", "adagrad", "adam", "ftrl")
DISTRIBUTIONS = ("uniform", "zipf")
_BASE_ROWS = 99_991


@dataclasses.dataclass(frozen=True)
class Workload:
    """Bags have between `min_bag` and `max_bag` ids, each size as likely."""

    name: str
    tables: int
    rows: int
    dim: int
    batch: int
    min_bag: int = 1
    max_bag: int = 1
    combiner: str = "sum"
    weighted: bool = False

    @property
    def one_id(self) -> bool:
        return self.max_bag == 1

    @property
    def mean_ids(self) -> float:
        """Of a batch, on average."""
        return self.tables * self.batch * (self.min_bag + self.max_bag) / 2

    @property
    def latency(self) -> bool:
        """Whether calls are so short that what surrounds them counts."""
        return self.batch <= 32


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("W1", 26, 100_000, 64, 2048),
        Workload("W2", 8, 1_000_000, 64, 2048, 1, 39, "mean"),
        Workload("W2-weighted", 8, 1_000_000, 64, 2048, 1, 39, "sum", True),
        Workload("W3-1", 3, 100_000, 32, 1, 10, 10, "mean"),
        Workload("W3-32", 3, 100_000, 32, 32, 10, 10, "mean"),
    )
}


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a worker is set up with."""

    workload: Workload
    distribution: str = "uniform"
    optimizer: str = "adagrad"
    threads: int = 1
    num_batches: int = 16

    @property
    def name(self) -> str:
        return (
            f"{self.workload.name} {self.distribution} {self.optimizer},"
            f" {self.threads} thread{'s' * (self.threads > 1)}"
        )

    @property
    def num_slots(self) -> int:
        return {"none": 0, "sgd": 0, "adagrad": 1}.get(self.optimizer, 2)

    @property
    def table_bytes(self) -> int:
        w = self.workload
        return 4 * w.tables * w.rows * w.dim * (1 + self.num_slots)


class _Ids:
    """Draws ids of one table."""

    def __init__(self, rows: int, distribution: str, rng: np.random.Generator):
        self._rows = rows
        self._rng = rng
        self._cumulative = None
        if distribution == "zipf":
            weights = np.arange(1, rows + 1, dtype=np.float64) ** -1.05
            self._cumulative = np.cumsum(weights)
            # Which row has which rank is scattered over the table.
            self._row_of_rank = rng.permutation(rows)

    def draw(self, n: int) -> np.ndarray:
        if self._cumulative is None:
            return self._rng.integers(0, self._rows, n)
        u = self._rng.random(n) * self._cumulative[-1]
        ranks = np.searchsorted(self._cumulative, u, side="right")
        return self._row_of_rank[np.minimum(ranks, self._rows - 1)]


def write(setting: Setting, folder: pathlib.Path) -> None:
    """Writes the inputs; the same setting gives the same ones."""
    w = setting.workload
    rng = np.random.default_rng(SEED)
    folder.mkdir(parents=True)
    base_rows = min(w.rows, _BASE_ROWS)
    rng.uniform(-1, 1, (base_rows, w.dim)).astype(np.float32).tofile(
        folder / "table.f32"
    )
    gradients = rng.normal(0, 0.1, (w.tables, w.batch, w.dim))
    gradients.astype(np.float32).tofile(folder / "gradients.f32")
    ids = _Ids(w.rows, setting.distribution, rng)
    for b in range(setting.num_batches):
        sizes = rng.integers(w.min_bag, w.max_bag + 1, (w.tables, w.batch))
        splits = np.zeros((w.tables, w.batch + 1), np.int64)
        ends = np.cumsum(sizes.ravel()).reshape(sizes.shape)
        splits[:, 1:] = ends
        splits[1:, 0] = ends[:-1, -1]
        splits.tofile(folder / f"splits_{b}.i64")
        total = int(ends[-1, -1])
        ids.draw(total).astype(np.int64).tofile(folder / f"ids_{b}.i64")
        if w.weighted:
            weights = rng.uniform(0.5, 1.5, total).astype(np.float32)
            weights.tofile(folder / f"weights_{b}.f32")
    values = dataclasses.asdict(w) | {
        "one_id": w.one_id,
        "base_rows": base_rows,
        "distribution": setting.distribution,
        "optimizer": setting.optimizer,
        "threads": setting.threads,
        "num_batches": setting.num_batches,
    }
    lines = (
        f"{key} {int(value) if isinstance(value, bool) else value}\n"
        for key, value in values.items()
    )
    (folder / "setting.txt").write_text("".join(lines))


def read_setting(folder: pathlib.Path) -> Setting:
    values = dict(
        line.split(" ", 1) for line in (folder / "setting.txt").read_text().splitlines()
    )
    types = {"name": str, "combiner": str, "weighted": lambda x: x == "1"}
    workload = Workload(
        **{
            field.name: types.get(field.name, int)(values[field.name])
            for field in dataclasses.fields(Workload)
        }
    )
    return Setting(
        workload,
        values["distribution"],
        values["optimizer"],
        int(values["threads"]),
        int(values["num_batches"]),
    )


@dataclasses.dataclass(frozen=True)
class Batch:
    """One batch. Ids and weights of table t are [splits[t, 0], splits[t, -1])."""

    ids: np.ndarray
    splits: np.ndarray
    weights: np.ndarray | None

    def of_table(self, t: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Ids, splits from 0 on, and weights of a table."""
        part = slice(self.splits[t, 0], self.splits[t, -1])
        weights = None if self.weights is None else self.weights[part]
        return self.ids[part], self.splits[t] - self.splits[t, 0], weights


class Inputs:
    """What `write` wrote."""

    def __init__(self, folder: pathlib.Path):
        self.setting = read_setting(folder)
        w = self.setting.workload
        self._base = np.fromfile(folder / "table.f32", np.float32).reshape(-1, w.dim)
        self.gradients = np.fromfile(folder / "gradients.f32", np.float32)
        self.gradients = self.gradients.reshape(w.tables, w.batch, w.dim)
        self.batches = [self._batch(folder, b) for b in range(self.setting.num_batches)]

    def _batch(self, folder: pathlib.Path, b: int) -> Batch:
        w = self.setting.workload
        return Batch(
            np.fromfile(folder / f"ids_{b}.i64", np.int64),
            np.fromfile(folder / f"splits_{b}.i64", np.int64).reshape(w.tables, -1),
            np.fromfile(folder / f"weights_{b}.f32", np.float32)
            if w.weighted
            else None,
        )

    def fill(self, t: int, out: np.ndarray) -> None:
        """Writes table t into `out`, [rows, dim]."""
        table = self._base + np.float32(t / 8)
        for begin in range(0, len(out), len(table)):
            end = min(begin + len(table), len(out))
            out[begin:end] = table[: end - begin]

    def rows(self, t: int, ids: np.ndarray) -> np.ndarray:
        return self._base[ids % len(self._base)] + np.float32(t / 8)

    def table(self, t: int) -> np.ndarray:
        w = self.setting.workload
        out = np.empty((w.rows, w.dim), np.float32)
        self.fill(t, out)
        return out
