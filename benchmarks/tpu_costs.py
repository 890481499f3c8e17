"""The TPU compiler's estimates of our lookup and update and of the stock graphs.

    python benchmarks/tpu_costs.py [--quick]

Prints the tables of docs/xla.md. Needs no TPU, but the TPU compiler:
third_party/tpu_compiler/install.sh makes .venv-tpu-compiler; set
TF_EMBED_TPU_COMPILER_PYTHON to its python.
"""

import argparse
import dataclasses

import numpy as np
import rich.console
import rich.progress
import tensorflow as tf

from tf_embed import xla
from tf_embed.serving._fused_lookup import FusedFeature, fused_lookup
from tf_embed.serving._fused_update import fused_update


@dataclasses.dataclass(frozen=True)
class Size:
    rows: int
    dim: int
    batch: int
    length: int

    def __str__(self) -> str:
        return f"{self.rows:,} x {self.dim}, {self.batch} x {self.length}"

    @property
    def specs(self) -> list[tf.TensorSpec]:
        return [
            tf.TensorSpec([self.batch, self.length], tf.int32),
            tf.TensorSpec([self.batch, self.length], tf.float32),
        ]


_SIZES = (
    Size(1_000, 64, 2048, 20),
    Size(100_000, 16, 2048, 20),
    Size(100_000, 64, 2048, 1),
    Size(100_000, 64, 2048, 20),
    Size(100_000, 64, 2048, 100),
    Size(100_000, 128, 2048, 20),
    Size(400_000, 128, 2048, 20),
    Size(1_000_000, 64, 2048, 20),
    Size(2_000_000, 128, 2048, 20),
)
_QUICK = _SIZES[3:4]


def _feature(size: Size, table: tf.Variable, ids, weights) -> FusedFeature:
    rows, columns = np.divmod(np.arange(size.batch * size.length), size.length)
    return FusedFeature(
        name="feature",
        table=table,
        form="sparse_safe",
        combiner="sum",
        ids=tf.reshape(ids, [-1]),
        indices=tf.constant(np.stack([rows, columns], 1), tf.int64),
        dense_shape=tf.constant([size.batch, size.length], tf.int64),
        weights=tf.reshape(weights, [-1]),
    )


def _stock_lookup(table: tf.Variable, ids, weights) -> tf.Tensor:
    """What TPUEmbeddingV0 builds of a feature that is dense by then."""
    rows = tf.nn.embedding_lookup(table, ids)
    return tf.reduce_sum(rows * weights[:, :, tf.newaxis], -2)


def _lookups(size: Size):
    table = tf.Variable(tf.zeros([size.rows, size.dim]))

    def stock(ids, weights):
        return _stock_lookup(table, ids, weights)

    def ours(ids, weights):
        return fused_lookup([_feature(size, table, ids, weights)])[0]

    return stock, ours, size.specs


def _updates(size: Size):
    adagrad = tf.tpu.experimental.embedding.Adagrad(0.1)
    config = tf.tpu.experimental.embedding.TableConfig(
        size.rows, size.dim, optimizer=adagrad, name="table"
    )
    # Both on the same variables: those of a large table are gigabytes.
    table = tf.Variable(tf.zeros([size.rows, size.dim]))
    # What TPUEmbeddingV0's documentation trains with.
    optimizer = tf.keras.optimizers.Adagrad(0.1)
    optimizer.build([table])
    (slot,) = (v.value for v in optimizer.variables if v.shape == table.shape)
    variables = {"table": {"parameters": table, "accumulators": slot}}

    def stock(ids, weights, gradient):
        with tf.GradientTape() as tape:
            pooled = _stock_lookup(table, ids, weights)
        of_table = tape.gradient(pooled, table, output_gradients=gradient)
        optimizer.apply_gradients([(of_table, table)])

    def ours(ids, weights, gradient):
        feature = _feature(size, table, ids, weights)
        fused_update([feature], [gradient], [config], variables)

    return stock, ours, [*size.specs, tf.TensorSpec([size.batch, size.dim])]


def _cell(old: xla.TpuCost, new: xla.TpuCost) -> str:
    before = f"{old.seconds * 1e6:.0f}" if old.ok else "does not compile"
    after = f"{new.seconds * 1e6:.0f}" if new.ok else "does not compile"
    if not (old.ok and new.ok):
        return f"{before} → {after}"
    return f"{before} → {after}, {old.seconds / new.seconds:.1f}x"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one size only")
    sizes = _QUICK if parser.parse_args().quick else _SIZES
    console = rich.console.Console(stderr=True)
    generations = list(xla.TPU_TOPOLOGIES)
    for what, graphs in (("lookup", _lookups), ("Adagrad update", _updates)):
        print(f"\n| {what}: table, batch x ids | {' | '.join(generations)} |")
        print("| --- |" + " --- |" * len(generations))
        for size in rich.progress.track(sizes, what, console=console):
            stock, ours, specs = graphs(size)
            before = xla.tpu_costs(stock, *specs)
            after = xla.tpu_costs(ours, *specs)
            cells = [_cell(before[name], after[name]) for name in before]
            print(f"| {size} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
