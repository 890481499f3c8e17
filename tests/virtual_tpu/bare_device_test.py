"""TPU devices without a strategy, and TPUPartitionedCall."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.tpu.tpu_embedding_configuration_pb2 import (
    TPUEmbeddingConfiguration,
)
from tensorflow.python.tpu import tpu
from tensorflow.python.tpu.ops import tpu_ops
from vtpu_testing import CORES, resolver

resolver()


def test_ops_with_outputs_of_any_shape():
    with tf.device("TPU:0"):
        np.testing.assert_array_equal(tf.where([True, False, True]), [[0], [2]])
        np.testing.assert_array_equal(tf.repeat(tf.range(2), [1, 4]), [0, 1, 1, 1, 1])


@pytest.mark.parametrize("jit_compile", [None, True])
def test_function_on_a_core(jit_compile):
    with tf.device("TPU:1"):
        v = tf.Variable([1.0, 2.0])

    @tf.function(jit_compile=jit_compile)
    def fn(x):
        for _ in tf.range(2):
            v.assign_add(x)
        return v + 1.0

    with tf.device("TPU:1"):
        result = fn(tf.constant([1.0, 1.0]))
    np.testing.assert_array_equal(result, [4.0, 5.0])


def test_function_that_calls_another():
    @tf.function(jit_compile=True)
    def inner(x):
        return x * x

    @tf.function
    def outer(x):
        return inner(x) + 1.0

    with tf.device("TPU:0"):
        assert outer(tf.constant(3.0)).numpy() == 10.0


def rewritten(fn):
    """A function that holds `fn` as a TPU computation."""

    @tf.function
    def body(x):
        return tpu.rewrite(fn, [x])

    return body


def partitioned_call(fn, x, ordinal):
    body = rewritten(fn).get_concrete_function(tf.TensorSpec([2], tf.float32))

    @tf.function
    def call(x, ordinal):
        return tf.raw_ops.TPUPartitionedCall(
            args=[x, *body.captured_inputs],
            device_ordinal=ordinal,
            Tout=[o.dtype for o in body.outputs],
            f=body,
        )

    return call(x, ordinal)[0]


X = tf.constant([1.0, 2.0])


@pytest.mark.parametrize("core", [0, CORES - 1])
def test_partitioned_call_on_a_chosen_core(core):
    def fn(x):
        name = tf.compat.v1.tpu.outside_compilation(lambda y: y + 1.0, x)
        return name * 2.0

    np.testing.assert_array_equal(partitioned_call(fn, X, core), [4.0, 6.0])


def test_partitioned_call_that_chooses():
    @tf.function
    def ordinal():
        return tpu_ops.tpu_ordinal_selector()

    for _ in range(CORES + 1):
        result = partitioned_call(lambda x: x * x, X, ordinal())
        np.testing.assert_array_equal(result, [1.0, 4.0])


def test_partitioned_call_with_a_variable():
    v = tf.Variable([10.0, 20.0])
    result = partitioned_call(lambda x: x + v, X, 0)
    np.testing.assert_array_equal(result, [11.0, 22.0])


@pytest.mark.parametrize("core", [-1, CORES])
def test_partitioned_call_on_a_core_that_is_not_there(core):
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=rf"device_ordinal is {core}, must be from 0 to {CORES - 1}",
    ):
        partitioned_call(lambda x: x, X, core)


def test_system_is_configured_with_the_embedding_of_the_op():
    config = TPUEmbeddingConfiguration(mode="TRAINING", num_tensor_cores=CORES)
    config.table_descriptor.add(
        name="t",
        vocabulary_size=3,
        dimension=2,
        optimization_parameters={"stochastic_gradient_descent": {}},
    )
    config.feature_descriptor.add(table_id=0, input_shape=[1])
    serialized = config.SerializeToString()

    def initialized():
        return tf.raw_ops.IsTPUEmbeddingInitialized(config=serialized).numpy()

    with tf.device("/device:TPU_SYSTEM:0"):
        tf.raw_ops.ConfigureDistributedTPU(tpu_embedding_config=serialized)
        assert initialized()
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="embedding_config is reserved"
        ):
            tf.raw_ops.ConfigureDistributedTPU(embedding_config=serialized)
        assert initialized()
        tf.raw_ops.ConfigureDistributedTPU()
        assert not initialized()
