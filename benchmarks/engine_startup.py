"""What a table of many GB takes to configure, load, train, retrieve and save.

    ./run bench startup                      # 6.4 GB
    ./run bench startup --rows 50_000_000    # 12.8 GB

One table of dimension 32 with Adagrad, through the raw ops, a shard at a time. After
a step, rows of all parts of the table are compared with NumPy. Beside each stage
stands what the machine does with as many bytes: NumPy's fill and copy by one thread,
and a plain file that is written to the same disk.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import tempfile
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.tpu import tpu_embedding_configuration_pb2

DIM = 32
NUM_SHARDS = 16
BATCH = 2048
NUM_IDS = 20 * BATCH
LEARNING_RATE = np.float32(0.1)
ACCUMULATOR = np.float32(0.1)


def seconds(fn: Callable[[], object]) -> float:
    begin = time.monotonic()
    fn()
    return time.monotonic() - begin


def show(stage: str, taken: float, num_bytes: int = 0, beside: str = "") -> None:
    speed = f"{num_bytes / taken / 1e9:8.2f} GB/s" if num_bytes else " " * 13
    print(f"{stage:24} {taken:8.3f} s {speed}  {beside}".rstrip(), flush=True)


def parameters(shard: int, rows: int) -> np.ndarray:
    """Row r of the table is (r mod 1024) / 1024 in each column."""
    first = shard * (rows // NUM_SHARDS)
    numbers = np.arange(first, first + rows // NUM_SHARDS, dtype=np.int64) % 1024
    return np.repeat((numbers / 1024).astype(np.float32)[:, None], DIM, axis=1)


def write_file(path: pathlib.Path, data: np.ndarray) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="./run bench startup",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", type=int, default=25_000_000)
    rows = parser.parse_args().rows // NUM_SHARDS * NUM_SHARDS
    table_bytes = rows * DIM * 4
    shard_bytes = table_bytes // NUM_SHARDS

    begin = time.monotonic()
    import tf_embed

    tf_embed.load()
    show("import and load", time.monotonic() - begin)
    raw_ops = tf_embed.raw_ops

    config = tpu_embedding_configuration_pb2.TPUEmbeddingConfiguration(mode="TRAINING")
    table = config.table_descriptor.add(name="t", vocabulary_size=rows, dimension=DIM)
    table.optimization_parameters.adagrad.SetInParent()
    table.optimization_parameters.learning_rate.constant = LEARNING_RATE
    config.feature_descriptor.add(name="f", table_id=0, input_shape=[BATCH])
    size = f"{2 * table_bytes / 1e9:.1f} GB"

    part = np.empty(shard_bytes // 4, np.float32)
    fill = seconds(lambda: part.fill(1.0))
    taken = seconds(lambda: raw_ops.ConfigureTPUEmbedding(config=config))
    beside = f"NumPy's fill: {shard_bytes / fill / 1e9:.2f} GB/s"
    show(f"configure {size}", taken, 2 * table_bytes, beside)

    def shards(what: Callable[[int], float]) -> float:
        return sum(what(shard) for shard in range(NUM_SHARDS))

    accumulators = np.full((rows // NUM_SHARDS, DIM), ACCUMULATOR)

    def load(shard: int) -> float:
        values = tf.constant(parameters(shard, rows))
        slots = tf.constant(accumulators)
        return seconds(
            lambda: raw_ops.LoadTPUEmbeddingAdagradParameters(
                parameters=values,
                accumulators=slots,
                table_name="t",
                num_shards=NUM_SHARDS,
                shard_id=shard,
            )
        )

    copy = seconds(lambda: part.copy())
    beside = f"NumPy's copy: {shard_bytes / copy / 1e9:.2f} GB/s"
    show("load", shards(load), 2 * table_bytes, beside)

    rng = np.random.default_rng(0)
    ids = rng.integers(0, rows, NUM_IDS)
    ids[:3] = [0, rows - 1, rows // 2]
    splits = np.arange(BATCH + 1, dtype=np.int32) * (NUM_IDS // BATCH)
    gradients = rng.normal(size=(BATCH, DIM)).astype(np.float32)

    def step() -> None:
        raw_ops.EnqueueTPUEmbeddingArbitraryTensorBatch(
            sample_indices_or_row_splits=[splits],
            embedding_indices=[ids],
            aggregation_weights=[np.zeros([0], np.float32)],
            mode_override="train",
            combiners=["sum"],
        )
        activations = raw_ops.RecvTPUEmbeddingActivations(num_outputs=1, config=config)
        expected = (ids % 1024 / 1024).reshape(BATCH, -1).sum(axis=1)
        np.testing.assert_allclose(activations[0][:, 0], expected, rtol=1e-5)
        raw_ops.SendTPUEmbeddingGradients(
            inputs=[gradients], learning_rates=[], config=config
        )

    show("one step, compared", seconds(step))

    retrieved: list[tf.Tensor] = []

    def retrieve(shard: int) -> float:
        def run() -> None:
            retrieved[:] = raw_ops.RetrieveTPUEmbeddingAdagradParameters(
                table_name="t", num_shards=NUM_SHARDS, shard_id=shard
            )

        taken = seconds(run)
        check(shard)
        return taken

    unique, place = np.unique(ids, return_inverse=True)
    sums = np.zeros((len(unique), DIM), np.float64)
    np.add.at(sums, place, gradients[np.arange(NUM_IDS) // (NUM_IDS // BATCH)])

    def check(shard: int) -> None:
        """Every row of the shard that the step updated, and that no other was."""
        first = shard * (rows // NUM_SHARDS)
        chosen = (unique >= first) & (unique < first + rows // NUM_SHARDS)
        local = unique[chosen] - first
        weights, slots = (np.asarray(variable) for variable in retrieved)
        a = ACCUMULATOR + sums[chosen] ** 2
        w = (unique[chosen] % 1024 / 1024)[:, None]
        w = w - LEARNING_RATE * sums[chosen] / np.sqrt(a)
        np.testing.assert_allclose(slots[local], a, rtol=1e-4)
        np.testing.assert_allclose(weights[local], w, rtol=1e-4, atol=1e-5)
        changed = np.flatnonzero(slots[:, 0] != ACCUMULATOR)
        assert set(changed) <= set(local), "a row without an id has changed"

    show("retrieve", shards(retrieve), 2 * table_bytes, beside)

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)

        def save(shard: int) -> float:
            retrieve(shard)
            return seconds(
                lambda: tf.raw_ops.SaveV2(
                    prefix=f"{folder}/ckpt{shard}",
                    tensor_names=["parameters", "accumulators"],
                    shape_and_slices=["", ""],
                    tensors=retrieved,
                )
            )

        # A part of it: the disk need not hold the table twice.
        few = min(NUM_SHARDS, 4)
        plain = seconds(lambda: write_file(path / "plain", part))
        taken = sum(save(shard) for shard in range(few))
        beside = f"a plain file: {shard_bytes / plain / 1e9:.2f} GB/s"
        show(
            f"TensorFlow's SaveV2, {few} of {NUM_SHARDS} shards",
            taken,
            few * 2 * shard_bytes,
            beside,
        )
    print("all rows as NumPy has them")


if __name__ == "__main__":
    main()
