"""The TPU compiler's estimates of our lookup and update and of the stock graphs.

Prints the tables of docs/xla.md. Needs no TPU, but the TPU compiler.
"""

import argparse
import dataclasses

import numpy as np
import rich.console
import rich.progress
import tensorflow as tf

from tf_embed import xla
from tf_embed.serving._fused_lookup import FusedFeature, fused_lookup
from tf_embed.serving._fused_update import FusedUpdate


@dataclasses.dataclass(frozen=True)
class Size:
    rows: int
    dim: int
    batch: int
    length: int | None  # None: ids [B], one for each position

    def __str__(self) -> str:
        ids = f"{self.batch}" + (f" x {self.length}" if self.length else "")
        return f"{self.rows:,} x {self.dim}, {ids}"

    @property
    def specs(self) -> list[tf.TensorSpec]:
        if self.length is None:
            return [tf.TensorSpec([self.batch], tf.int32)]
        return [
            tf.TensorSpec([self.batch, self.length], tf.int32),
            tf.TensorSpec([self.batch, self.length], tf.float32),
        ]


_SIZES = (
    Size(100, 64, 2048, None),
    Size(100_000, 64, 2048, None),
    Size(1_000_000, 16, 2048, None),
    Size(1_000_000, 64, 2048, None),
    Size(400_000, 128, 2048, None),
    Size(400_000, 256, 2048, None),
    Size(100, 16, 2048, 20),
    Size(1_000, 64, 2048, 20),
    Size(100_000, 16, 2048, 20),
    Size(100_000, 64, 2048, 1),
    Size(100_000, 64, 2048, 20),
    Size(100_000, 64, 2048, 100),
    Size(100_000, 128, 2048, 20),
    Size(300_000, 64, 2048, 20),
    Size(400_000, 128, 2048, 20),
    Size(400_000, 256, 2048, 20),
    Size(1_000_000, 16, 2048, 20),
    Size(1_000_000, 32, 2048, 20),
    Size(1_000_000, 64, 2048, 20),
    Size(1_000_000, 192, 2048, 20),
    Size(2_000_000, 128, 2048, 20),
    Size(4_000_000, 16, 2048, 20),
    Size(4_000_000, 64, 2048, 20),
)
_QUICK = Size(100_000, 64, 2048, 20)
# Keras' Adagrad on IndexedSlices looks for the rows with a gradient in the
# whole table, which the compiler works on for minutes in larger ones.
_MAX_ROWS_OF_INDEXED_SLICES = 100_000


def _feature(size: Size, table: tf.Variable, ids, weights=None) -> FusedFeature:
    if weights is None:
        return FusedFeature("feature", table, form="dense", combiner="sum", ids=ids)
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


def _stock_lookup(table: tf.Variable, ids, weights=None) -> tf.Tensor:
    """What TPUEmbeddingV0 builds of a feature that is dense by then."""
    rows = tf.nn.embedding_lookup(table, ids)
    return (
        rows if weights is None else tf.reduce_sum(rows * weights[:, :, tf.newaxis], -2)
    )


def _lookups(size: Size):
    table = tf.Variable(tf.zeros([size.rows, size.dim]))

    def stock(*inputs):
        return _stock_lookup(table, *inputs)

    def ours(*inputs):
        return fused_lookup([_feature(size, table, *inputs)])[0]

    return stock, ours, size.specs


def _updates(size: Size, dense: bool):
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

    def stock(gradient, *inputs):
        with tf.GradientTape() as tape:
            pooled = _stock_lookup(table, *inputs)
        of_table = tape.gradient(pooled, table, output_gradients=gradient)
        if dense:
            of_table = tf.convert_to_tensor(of_table)
        optimizer.apply_gradients([(of_table, table)])

    def ours(gradient, *inputs):
        feature = _feature(size, table, *inputs)
        FusedUpdate([feature], [config], variables)([gradient])

    return stock, ours, [tf.TensorSpec([size.batch, size.dim]), *size.specs]


def _updates_of_indexed_slices(size: Size):
    if size.rows > _MAX_ROWS_OF_INDEXED_SLICES:
        return None
    return _updates(size, dense=False)


def _updates_of_dense_gradients(size: Size):
    return _updates(size, dense=True)


_TABLES = {
    "lookup": _lookups,
    "update": _updates_of_indexed_slices,
    "update, dense gradient": _updates_of_dense_gradients,
}


def _cell(old: xla.TpuCost, new: xla.TpuCost) -> str:
    before = f"{old.seconds * 1e6:.0f}" if old.ok else "does not compile"
    after = f"{new.seconds * 1e6:.0f}" if new.ok else "does not compile"
    if not (old.ok and new.ok):
        return f"{before} → {after}"
    return f"{before} → {after}, {old.seconds / new.seconds:.1f}x"


def main() -> None:
    parser = argparse.ArgumentParser(prog="./run bench tpu-costs", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one size only")
    parser.add_argument(
        "--only",
        action="append",
        metavar="TEXT",
        help="those rows that begin with it: 'update: 1,000,000 x 64'",
    )
    arguments = parser.parse_args()
    console = rich.console.Console(stderr=True)
    generations = list(xla.TPU_TOPOLOGIES)
    for what, graphs_of in _TABLES.items():
        print(f"\n| {what}: table, batch x ids | {' | '.join(generations)} |")
        print("| --- |" + " --- |" * len(generations))
        sizes = [
            size
            for size in ([_QUICK] if arguments.quick else _SIZES)
            if arguments.only is None
            or f"{what}: {size}".startswith(tuple(arguments.only))
        ]
        for size in rich.progress.track(sizes, what, console=console):
            graphs = graphs_of(size)
            if graphs is None:
                continue
            stock, ours, specs = graphs
            before = xla.tpu_costs(stock, *specs)
            after = xla.tpu_costs(ours, *specs)
            cells = [_cell(before[name], after[name]) for name in before]
            print(f"| {size} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
