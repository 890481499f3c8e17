"""Runs one call through TensorFlow's TPUEmbeddingV0 and ours on the virtual TPU."""

import functools

import numpy as np
import tensorflow as tf
from comparison import _ramp

import tf_embed
from tf_embed import virtual_tpu

STOCK = tf.tpu.experimental.embedding.TPUEmbeddingV0
CORES = 2
virtual_tpu.enable(num_cores=CORES)  # before any tensor is made


@functools.cache
def strategy():
    found = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")
    tf.tpu.experimental.initialize_tpu_system(found)
    return tf.distribute.TPUStrategy(found)


def _outcome(call, cls):
    """Outputs and gradients of each replica, flat; or the error."""
    with strategy().scope():
        layer = call.make(cls)
    tables = list(layer.embedding_tables.values())
    weights = [
        getattr(weight, "values", weight)  # dense weights are an error to find
        for weight in (call.weights or {}).values()
        if weight is not None
    ]

    def step():
        replica = tf.cast(
            tf.distribute.get_replica_context().replica_id_in_sync_group, tf.float32
        )
        with tf.GradientTape() as tape:
            tape.watch(weights)
            outputs = layer(call.inputs, call.weights)
            # Upstream gradients that differ from place to place.
            loss = sum(
                tf.reduce_sum(output * (_ramp(output) + replica))
                for output in outputs.values()
            )
        # None where a feature without ids of its own uses no table.
        gradients = tape.gradient(loss, [tables, weights], unconnected_gradients="zero")
        return outputs, tf.nest.map_structure(tf.convert_to_tensor, gradients)

    def run():
        return strategy().run(step)

    try:
        results = tf.function(run, autograph=False)()
    except (tf.errors.OpError, ValueError, TypeError) as error:
        return None, error
    return [
        value.numpy()
        for result in tf.nest.flatten(results)
        for value in strategy().experimental_local_results(result)
    ], None


def check_same(call):
    """Same numbers, shapes and gradients, or an error of the same type."""
    context = "\n".join(call.description)
    expected, expected_error = _outcome(call, STOCK)
    actual, error = _outcome(call, tf_embed.TPUEmbeddingV0)
    if expected_error is not None:
        if isinstance(expected_error, TypeError):
            # TensorFlow compares a sequence's length with a length that is not
            # known when the function is traced.
            assert "NoneType" in str(expected_error), context
            return "cannot"
        assert error is not None, f"no error, but {expected_error}\n{context}"
        assert type(error) is type(expected_error), f"{error!r}\n{context}"
        return "error"
    assert error is None, f"{error!r}\n{context}"
    assert len(actual) == len(expected)
    for got, want in zip(actual, expected, strict=True):
        assert got.shape == want.shape, context
        # Sums of at most a few hundred terms of at most 3 * 3 * 3.
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-4, err_msg=context)
    return "numbers"
