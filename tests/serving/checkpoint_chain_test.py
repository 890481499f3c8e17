"""From training on a TPU to a quantized model in a server, with its numbers.

A virtual TPU trains TensorFlow's TPUEmbedding; the checkpoint goes into
TPUEmbeddingForServing, that is quantized and exported, and a process without
tf_embed answers from the export.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import tf_embed
from tf_embed import virtual_tpu

virtual_tpu.enable(num_cores=2)  # before any tensor is made

embedding = tf.tpu.experimental.embedding

ROWS, DIM, RATE = 10, 6, 0.5


def _start(shape, dtype):
    """Row i, column k: i + k / 8."""
    rows, dim = shape
    values = np.arange(rows)[:, None] + np.arange(dim)[None] / 8
    return tf.constant(values, dtype)


def _features():
    table = embedding.TableConfig(
        ROWS, DIM, initializer=_start, combiner="sum", name="video"
    )
    return {"watched": embedding.FeatureConfig(table, output_shape=[2])}


def _train(path):
    """One step of SGD: rows 1, 4 and 7 of replica 0, 4 and 9 of replica 1."""
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")
    tf.tpu.experimental.initialize_tpu_system(resolver)
    strategy = tf.distribute.TPUStrategy(resolver)
    with strategy.scope():
        trained = embedding.TPUEmbedding(_features(), embedding.SGD(RATE))
    ids = [[[1, 4], [7]], [[4, 9], []]]

    def of_replica(context):
        return tf.ragged.constant(
            ids[context.replica_id_in_sync_group], dtype=tf.int64
        ).to_sparse()

    values = strategy.experimental_distribute_values_from_function(of_replica)

    @tf.function
    def step(ids):
        def on_core():
            activations = trained.dequeue()
            # Column k of each activation has the gradient k + 1.
            gradient = tf.range(1.0, DIM + 1) + tf.zeros([2, 1])
            trained.apply_gradients({"watched": gradient})
            return activations["watched"]

        trained.enqueue({"watched": ids}, training=True)
        return strategy.run(on_core)

    results = strategy.experimental_local_results(step(values))
    start = _start((ROWS, DIM), tf.float32).numpy()
    np.testing.assert_array_equal(results[0], [start[1] + start[4], start[7]])
    np.testing.assert_array_equal(results[1], [start[4] + start[9], np.zeros(DIM)])
    return tf.train.Checkpoint(embedding=trained).save(path)


@pytest.fixture(scope="module")
def expected():
    """The table after the step, by hand."""
    table = _start((ROWS, DIM), tf.float32).numpy()
    for row, times in ((1, 1), (4, 2), (7, 1), (9, 1)):
        table[row] -= RATE * times * np.arange(1, DIM + 1)
    return table


@pytest.fixture(scope="module")
def restored(tmp_path_factory):
    path = _train(str(tmp_path_factory.mktemp("checkpoint") / "ckpt"))
    server = tf_embed.TPUEmbeddingForServing(_features(), None)
    server.build()
    tf.train.Checkpoint(embedding=server).restore(path).expect_partial()
    return server


def test_the_checkpoint_is_restored_exactly(restored, expected):
    (table,) = restored.embedding_tables.values()
    np.testing.assert_array_equal(table, expected)


def _export(small, folder, **options):
    model = tf.Module()
    model.embedding = small

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int64, "ids"),
            tf.TensorSpec([None], tf.int64, "splits"),
        ]
    )
    def serve(ids, splits):
        ragged = tf.RaggedTensor.from_row_splits(ids, splits, validate=False)
        return small({"watched": ragged.to_sparse()})

    tf.saved_model.save(
        model, folder, signatures=serve, options=tf.saved_model.SaveOptions(**options)
    )


def _ask_other_process(folder, tmp_path, *plugins, **inputs):
    np.savez(tmp_path / "inputs.npz", **inputs)
    script = os.path.join(os.path.dirname(__file__), "export_process.py")
    arrays = [str(tmp_path / "inputs.npz"), str(tmp_path / "outputs.npz")]
    subprocess.run(
        [sys.executable, script, folder, *arrays, *plugins],
        check=True,
        env={"PATH": os.environ["PATH"], "TF_CPP_MIN_LOG_LEVEL": "2"},
        timeout=120,
    )
    with np.load(arrays[1]) as outputs:
        return dict(outputs)


# Each asks a process of its own: one of each kind.
@pytest.mark.parametrize(("dtype", "fused"), [("int4", False), ("int8", True)])
def test_another_process_answers_with_the_numbers(
    restored, expected, dtype, fused, tmp_path
):
    small = tf_embed.quantize(restored, dtype, fused_export=fused)
    folder = str(tmp_path / "model")
    _export(small, folder, namespace_whitelist=["TfEmbed"] if fused else [])
    ids, splits = np.array([4, 1, 9, 4, 0]), np.array([0, 2, 2, 5])
    plugins = [tf_embed.load()] if fused else []
    answers = _ask_other_process(folder, tmp_path, *plugins, ids=ids, splits=splits)
    codes = {"int8": 255, "int4": 15}[dtype]
    half_steps = (expected.max(1) - expected.min(1)) / codes / 2
    for answer, begin, end in zip(
        answers["watched"], splits[:-1], splits[1:], strict=True
    ):
        bag = ids[begin:end]
        error = np.abs(answer - expected[bag].sum(0))
        assert (error <= half_steps[bag].sum() + 1e-5).all(), (bag, error)
    # And they are those of the object that was exported.
    ragged = tf.RaggedTensor.from_row_splits(ids, splits)
    np.testing.assert_allclose(
        answers["watched"],
        small({"watched": ragged.to_sparse()})["watched"],
        rtol=1e-6,
        atol=1e-6,
    )
