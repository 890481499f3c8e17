"""TPUEmbeddingV0 against TensorFlow's own, both on the virtual TPU.

A training step (lookup, gradient, Keras' SGD) of W1, scaled to tables that
TPUEmbeddingV0 is for: 26 features of one id each. Both classes hold the same
tables and get the same rotating batches; their tables are compared after the
first steps. Prints milliseconds a step, median, and the ratio.
"""

import argparse
import time

import numpy as np
import tensorflow as tf
from tensorflow.python.keras.optimizer_v2 import gradient_descent

import tf_embed

embedding = tf.tpu.experimental.embedding
NUM_FEATURES = 26
NUM_BATCHES = 4


def _batches(strategy, arguments):
    """Sparse features of one id a row, as the strategy hands them to replicas."""
    rng = np.random.default_rng(0)
    size = arguments.batch * arguments.cores
    ids = rng.integers(0, arguments.rows, [NUM_BATCHES, NUM_FEATURES, size, 1])
    dataset = tf.data.Dataset.from_tensor_slices(ids).map(
        lambda batch: [
            tf.sparse.from_dense(feature + 1) for feature in tf.unstack(batch)
        ]
    )
    options = tf.distribute.InputOptions(experimental_fetch_to_device=False)
    return list(strategy.experimental_distribute_dataset(dataset, options))


def _step(strategy, cls, arguments):
    with strategy.scope():
        layer = cls(
            tuple(
                embedding.FeatureConfig(
                    embedding.TableConfig(
                        arguments.rows + 1,
                        arguments.dim,
                        initializer=embedding.RowIdInitializer(),
                        name=f"table{i}",
                    )
                )
                for i in range(NUM_FEATURES)
            ),
            None,
        )
        optimizer = gradient_descent.SGD(1e-6)
        tables = list(layer.embedding_tables.values())

    def replica_step(features):
        with tf.GradientTape() as tape:
            outputs = layer(features)
            loss = tf.add_n([tf.reduce_sum(output**2) for output in outputs])
        gradients = tape.gradient(loss, tables)
        optimizer.apply_gradients(zip(gradients, tables, strict=True))

    def lookup(features):
        return tf.add_n([tf.reduce_sum(output) for output in layer(features)])

    @tf.function(autograph=False)
    def train(features):
        return strategy.run(replica_step, (features,))

    @tf.function(autograph=False)
    def look(features):
        return strategy.run(lookup, (features,))

    return tables, train, look


def _milliseconds(function, batches, steps):
    times = []
    for i in range(steps):
        start = time.perf_counter()
        function(batches[i % len(batches)])
        times.append(1e3 * (time.perf_counter() - start))
    return times


def main():
    parser = argparse.ArgumentParser(prog="./run bench v0", description=__doc__)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--batch", type=int, default=2048, help="of a core")
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    tf_embed.virtual_tpu.enable(num_cores=arguments.cores)
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")
    tf.tpu.experimental.initialize_tpu_system(resolver)
    strategy = tf.distribute.TPUStrategy(resolver)
    batches = _batches(strategy, arguments)
    classes = [tf_embed.TPUEmbeddingV0, embedding.TPUEmbeddingV0]
    made = [_step(strategy, cls, arguments) for cls in classes]
    for _, *functions in made:
        for function in functions:
            _milliseconds(function, batches, NUM_BATCHES)
    for ours, theirs in zip(made[0][0], made[1][0], strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5)
    for i, what in enumerate(("training step", "lookup"), start=1):
        times = [[], []]
        for _ in range(3):
            for functions, mine in zip(made, times, strict=True):
                mine += _milliseconds(functions[i], batches, arguments.steps)
        ours, theirs = (float(np.median(t)) for t in times)
        print(f"{what}: {ours:.2f} ms, stock {theirs:.2f} ms, {theirs / ours:.2f}x")


if __name__ == "__main__":
    main()
