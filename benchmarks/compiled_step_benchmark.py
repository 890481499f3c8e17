"""A step of Recv and Send inside of a compiled function, and outside of one.

Workload W1: 26 tables of 100,000 x 64, batches of 2048, one id of each table,
Adagrad. The gradients are the activations, so that a step is the embedding part
alone: lookup and update. Both steps take turns on one engine; each batch is
enqueued before the clock starts. Their results are compared first. Prints
microseconds, median and tenth percentile, and the ratio of the medians.
"""

import argparse
import platform
import time

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.tpu import tpu_embedding_configuration_pb2

import tf_embed
from tf_embed import raw_ops

_TABLES, _ROWS, _DIM, _BATCH = 26, 100_000, 64, 2048
_NUM_BATCHES = 16


def _config():
    config = tpu_embedding_configuration_pb2.TPUEmbeddingConfiguration(
        mode=tpu_embedding_configuration_pb2.TPUEmbeddingConfiguration.TRAINING,
        num_hosts=1,
        num_tensor_cores=1,
    )
    for i in range(_TABLES):
        table = config.table_descriptor.add(
            name=f"table{i}", vocabulary_size=_ROWS, dimension=_DIM
        )
        table.optimization_parameters.adagrad.SetInParent()
        table.optimization_parameters.learning_rate.constant = 0.01
        config.feature_descriptor.add(
            name=f"feature{i}", table_id=i, input_shape=[_BATCH]
        )
    return config.SerializeToString()


def _load(config, rng):
    for i in range(_TABLES):
        raw_ops.LoadTPUEmbeddingAdagradParameters(
            parameters=rng.uniform(-1, 1, [_ROWS, _DIM]).astype(np.float32),
            accumulators=np.full([_ROWS, _DIM], 0.1, np.float32),
            num_shards=1,
            shard_id=0,
            table_id=i,
            config=config,
        )


def _enqueue(ids):
    raw_ops.EnqueueTPUEmbeddingArbitraryTensorBatch(
        sample_indices_or_row_splits=[tf.zeros([0], tf.int32)] * _TABLES,
        embedding_indices=ids,
        aggregation_weights=[tf.zeros([0])] * _TABLES,
        mode_override="train",
        device_ordinal=0,
        combiners=["sum"] * _TABLES,
    )


def _steps(config):
    def step():
        activations = raw_ops.RecvTPUEmbeddingActivations(
            num_outputs=_TABLES, config=config
        )
        with tf.control_dependencies(activations):
            raw_ops.SendTPUEmbeddingGradients(
                inputs=activations, learning_rates=[], config=config
            )
        return activations

    return {
        "outside": tf.function(step, autograph=False).get_concrete_function(),
        "compiled": tf.function(
            step, autograph=False, jit_compile=True
        ).get_concrete_function(),
    }


def _compare(steps, config, batch):
    """Both steps, each from the same tables."""
    results = []
    for step in steps.values():
        _load(config, np.random.default_rng(1))
        for _ in range(2):
            _enqueue(batch)
            activations = step()
        results.append(activations)
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def _measure(steps, batches, seconds):
    times = {name: [] for name in steps}
    start, i = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        # Neither is always the first.
        for name in sorted(steps, reverse=bool(i % 2)):
            _enqueue(batches[i % len(batches)])
            begin = time.perf_counter()
            steps[name]()
            times[name].append((time.perf_counter() - begin) * 1e6)
            i += 1
        i += 1
    return times


def main():
    parser = argparse.ArgumentParser(
        prog="./run bench compiled-step", description=__doc__
    )
    parser.add_argument("--quick", action="store_true", help="two seconds")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    seconds = 2 if arguments.quick else 15
    rng = np.random.default_rng(20261121)
    batches = [
        [tf.constant(rng.integers(0, _ROWS, _BATCH)) for _ in range(_TABLES)]
        for _ in range(_NUM_BATCHES)
    ]
    config = _config()
    raw_ops.ConfigureTPUEmbedding(config=config)
    steps = _steps(config)
    _compare(steps, config, batches[0])
    _measure(steps, batches, seconds / 3)  # tables move to huge pages
    times = _measure(steps, batches, seconds)
    print(
        f"TensorFlow {tf.__version__}, tf_embed {tf_embed.__version__},"
        f" {platform.processor() or platform.machine()},"
        f" {arguments.threads} thread(s); microseconds: median, 10th percentile"
    )
    for name, values in times.items():
        print(f"{name:10} {np.median(values):9.0f} {np.percentile(values, 10):9.0f}")
    ratio = np.median(times["compiled"]) / np.median(times["outside"])
    print(f"compiled / outside: {ratio:.2f}")
    raw_ops.ShutdownDistributedTPU()


if __name__ == "__main__":
    main()
