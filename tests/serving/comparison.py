"""Runs one call through TensorFlow's class and ours, and compares everything."""

import dataclasses
import re

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.saved_model import save_context

import tf_embed

STOCK = tf.tpu.experimental.embedding.TPUEmbeddingForServing

# Errors whose text is TensorFlow's to the letter.
_SAME_TEXT = re.compile(
    r"indices(\[[\d,]*\])? = -?\d+ is not in \[0, \d+\)"
    r"|indices\(\d+, 0\) is invalid: -?\d+ >= \d+"
    r"|segment ids are not increasing"
    r"|Segment id -?\d+ out of range \[0, \d+\), possibly because"
    r"|Output shape set in the FeatureConfig should be the factor of.*"
)


def _make_stock(call):
    """TensorFlow's object for the call.

    Before 2.21 it takes no subset of its features, which ours always does.
    """
    used = {name: call.features[name] for name in call.inputs}
    return dataclasses.replace(call, features=used).make(STOCK)


def _outcomes(call, cls, traced, times=1):
    """Results and gradients of each call of one object, or the error."""
    layer = _make_stock(call) if cls is STOCK else call.make(cls)
    tables = {config.name: table for config, table in layer.embedding_tables.items()}
    weights = [
        getattr(weight, "values", weight)
        for weight in (call.weights or {}).values()
        if weight is not None
    ]

    def run():
        with tf.GradientTape() as tape:
            tape.watch(weights)
            outputs = layer(call.inputs, call.weights)
            # Upstream gradients that differ from place to place.
            loss = sum(
                tf.reduce_sum(output * _ramp(output)) for output in outputs.values()
            )
        return outputs, tape.gradient(loss, [tables, weights])

    program = tf.function(run, autograph=False) if traced else run
    outcomes = []
    for _ in range(times):
        try:
            outcomes.append((program(), None))
        except (tf.errors.OpError, ValueError, TypeError) as error:
            outcomes.append((None, error))
    return outcomes


def _ramp(tensor):
    size = tf.cast(tf.size(tensor), tf.float32)
    return tf.reshape(tf.range(size) % 7 - 3, tf.shape(tensor))


def _dense(gradient):
    if gradient is None:
        return None
    if isinstance(gradient, tf.IndexedSlices):
        return tf.convert_to_tensor(gradient).numpy()
    return gradient.numpy()


def check_same(call, traced):
    """Same numbers, shapes, gradients and errors as TensorFlow's class."""
    context = "\n".join([*call.description, f"traced {traced}"])
    # TensorFlow cannot trace ragged features with an output_shape.
    stock_cannot = traced and any(
        isinstance(inp, tf.RaggedTensor) and call.features[name].output_shape
        for name, inp in call.inputs.items()
    )
    (expected,) = _outcomes(call, STOCK, traced and not stock_cannot)
    # In eager mode the second call follows the plan of the first.
    for outcome in _outcomes(call, tf_embed.TPUEmbeddingForServing, traced, times=2):
        _check_outcome(call, outcome, expected, context)


def _check_outcome(call, outcome, expected, context):
    (actual, error), (expected, expected_error) = outcome, expected
    if expected_error is not None:
        assert error is not None, f"no error, but {expected_error}\n{context}"
        assert type(error) is type(expected_error), f"{error!r}\n{context}"
        text = _SAME_TEXT.search(str(expected_error))
        if text:
            assert text.group() in str(error), f"{text.group()}\n{error}\n{context}"
        return
    assert error is None, f"{error!r}\n{context}"
    (outputs, gradients), (wanted, wanted_gradients) = actual, expected
    for name, want in wanted.items():
        got = outputs[name]
        assert got.shape == want.shape, f"{name} {got.shape} {want.shape}\n{context}"
        # Sums are exact; a scale is rounded once or twice.
        tolerance = 4 * np.finfo(np.float32).eps
        if call.features[name].table.combiner == "sum":
            tolerance = 0
        np.testing.assert_allclose(
            got.numpy(), want.numpy(), rtol=tolerance, err_msg=f"{name}\n{context}"
        )
    tables, weights = gradients
    wanted_tables, wanted_weights = wanted_gradients
    assert wanted_tables.keys() <= tables.keys(), context
    pairs = [(got, wanted_tables.get(name)) for name, got in tables.items()]
    for got, want in [*pairs, *zip(weights, wanted_weights, strict=True)]:
        assert (got is None) == (want is None), context
        if isinstance(got, tf.IndexedSlices):
            rows = got.indices.numpy()
            assert len(set(rows)) == len(rows), f"row twice: {rows}\n{context}"
        if want is not None:
            # At most a few hundred contributions of at most 3 * 3 * 2.
            np.testing.assert_allclose(
                _dense(got), _dense(want), rtol=1e-5, atol=2e-4, err_msg=context
            )


def check_quantized(call, dtype, traced):
    """Numbers, shapes and errors as of TensorFlow's class on the decoded tables."""
    context = "\n".join([*call.description, f"{dtype} traced {traced}"])
    small = tf_embed.quantize(call.make(tf_embed.TPUEmbeddingForServing), dtype)
    decoded = {
        config: table.dequantize() for config, table in small.embedding_tables.items()
    }
    # Of TensorFlow's class, on variables: it cannot look up in tensors.
    stock = _make_stock(call)
    for config, table in stock.embedding_tables.items():
        table.assign(decoded[config])

    def exported():
        """What a SavedModel of stock ops computes."""
        with save_context.save_context(tf.saved_model.SaveOptions()):
            return small(call.inputs, call.weights)

    def ours():
        return small(call.inputs, call.weights)

    try:
        wanted, refused = stock(call.inputs, call.weights), None
    except (tf.errors.OpError, ValueError, TypeError) as error:
        refused = error
    for lookup in (ours, exported):
        if traced and lookup is ours:
            lookup = tf.function(lookup, autograph=False)
        if refused is not None:
            with pytest.raises(type(refused)):
                lookup()
            continue
        outputs = lookup()
        for name, want in wanted.items():
            got = outputs[name]
            assert got.dtype == tf.float32
            assert got.shape == want.shape, f"{name} {got.shape}\n{context}"
            # At most 15 terms of at most 2 * 3 * 2, divided by 1/8 at least.
            np.testing.assert_allclose(
                got, want, rtol=1e-6, atol=2e-4, err_msg=f"{name}\n{context}"
            )
