"""The Xla forms of Recv and Send inside compiled functions, and their data."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from tests.ops import harness, small_model


@pytest.fixture(autouse=True)
def no_engine_is_left():
    yield
    small_model.tear_down()


def _compiled(function):
    return tf.function(function, jit_compile=True, autograph=False)


def _both(function):
    """What the CPU kernels give, and what the compiled function does."""
    return tf.function(function, autograph=False)(), _compiled(function)()


class _Ops:
    """The ops of one version."""

    def __init__(self, config, version=""):
        self._version = version
        self._attrs = {"config": config.SerializeToString()}
        if version:
            self._attrs |= dict.fromkeys(
                ("embedding_partitions", "hbm_buffers_config", "tpu_topology"), b""
            )

    def receive(self):
        return harness.op(
            f"XlaRecvTPUEmbeddingDeduplicationData{self._version}", **self._attrs
        )

    def look_up(self, data):
        return harness.op(
            f"XlaRecvTPUEmbeddingActivations{self._version}",
            deduplication_data=data,
            num_tables=3,
            **self._attrs,
        )

    def send(self, data):
        harness.op(
            f"XlaSendTPUEmbeddingGradients{self._version}",
            gradients=small_model.gradients(),
            learning_rates=small_model.LEARNING_RATES,
            deduplication_data=data,
            **self._attrs,
        )

    def size(self):
        return harness.op(f"ComputeDedupDataSize{self._version}", **self._attrs)

    def mask(self):
        return harness.op(f"ComputeDedupDataTupleMask{self._version}", **self._attrs)


def _serialized(mask):
    # In graphs TensorFlow's shape function reads int_val, and all of it.
    proto = tensor_pb2.TensorProto(
        dtype=types_pb2.DT_INT32, int_val=np.asarray(mask).ravel().tolist()
    )
    proto.tensor_shape.CopyFrom(tf.TensorShape(np.shape(mask)).as_proto())
    return proto.SerializeToString()


def _split(data, mask, integer_type=tf.int32, float_type=tf.float32):
    return harness.op(
        "SplitDedupData",
        input=data,
        integer_type=integer_type.as_datatype_enum,
        float_type=float_type.as_datatype_enum,
        tuple_mask=_serialized(mask),
    )


def _merge(integers, floats, mask):
    return harness.op(
        "MergeDedupData",
        integer_tensor=integers,
        float_tensor=floats,
        tuple_mask=_serialized(mask),
    )


def _assert_activations(actual):
    for got, want in zip(actual, small_model.activations(), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("version", ["", "V2"])
def test_ATicketTiesGradientsToTheirBatch(version):
    config = small_model.configured(small_model.feature_config())
    ops = _Ops(config, version)

    @_compiled
    def two_steps():
        # The second batch is received before the first one's gradients are sent.
        tickets = [ops.receive() for _ in range(2)]
        activations = [ops.look_up(ticket) for ticket in tickets]
        for ticket in tickets:
            ops.send(ticket)
        return activations

    for _ in range(2):
        small_model.enqueue("train")
    for activations in two_steps():
        _assert_activations(activations)
    small_model.assert_tables(config, small_model.parameters_after(2), rtol=1e-6)


@pytest.mark.parametrize("version", ["", "V2"])
@pytest.mark.parametrize("num_cores_per_replica", [1, 2, 4])
def test_SizeAndMaskAreThoseOfTheKernels(version, num_cores_per_replica):
    config = small_model.feature_config(num_tensor_cores=4)
    config.spmd_sharding.enabled = num_cores_per_replica > 1
    config.spmd_sharding.num_cores_per_replica = num_cores_per_replica
    ops = _Ops(config, version)
    for kernel, compiled in zip(*_both(lambda: (ops.size(), ops.mask())), strict=True):
        assert kernel.dtype == compiled.dtype
        np.testing.assert_array_equal(kernel, compiled)
    np.testing.assert_array_equal(compiled, [[0, num_cores_per_replica]])


@pytest.mark.parametrize("seed", range(8))
def test_RandomSplitsAreThoseOfTheKernels(seed):
    rng = np.random.default_rng(seed)
    config = small_model.configured(small_model.feature_config())
    ops = _Ops(config)
    integer_type = [tf.int32, tf.int64, tf.uint32, tf.uint64][seed % 4]
    float_type = [tf.half, tf.bfloat16, tf.float32][seed % 3]
    # Runs of integers and floats, some empty; at least one integer.
    mask = np.stack([rng.integers(0, 2, 5), rng.integers(0, 4, 5)], axis=1).astype(
        np.int32
    )
    mask[rng.integers(5)] = [0, 2]

    def step():
        integers, floats = _split(ops.receive(), mask, integer_type, float_type)
        merged = _merge(integers, floats, mask)
        return integers, floats, ops.look_up(merged)

    for _ in range(2):
        small_model.enqueue("inference")
    kernel, compiled = _both(step)
    for got, want in zip(compiled[:2], kernel[:2], strict=True):
        assert got.dtype == want.dtype and got.shape == want.shape, f"seed {seed}"
    # Each batch has a number of its own; the rest is the same.
    assert int(compiled[0][0]) != int(kernel[0][0])
    np.testing.assert_array_equal(compiled[0][1:], kernel[0][1:])
    np.testing.assert_array_equal(compiled[1], kernel[1])
    _assert_activations(compiled[2])
    _assert_activations(kernel[2])


@pytest.mark.parametrize("compile_split", [False, True])
def test_WhatOneSideSplitTheOtherMayMerge(compile_split):
    config = small_model.configured(small_model.feature_config())
    ops = _Ops(config)
    mask = ops.mask().numpy()

    def split():
        return _split(ops.receive(), mask)

    def train(integers, floats):
        data = _merge(integers, floats, mask)
        activations = ops.look_up(data)
        ops.send(data)
        return activations

    if compile_split:
        split = _compiled(split)
    else:
        train = _compiled(train)
    small_model.enqueue("train")
    _assert_activations(train(*split()))
    small_model.assert_tables(config, small_model.parameters_after(1), rtol=1e-6)


def test_ErrorsAreThoseOfTheKernels():
    config = small_model.configured(small_model.feature_config())
    ops = _Ops(config)
    invalid = tf.errors.InvalidArgumentError
    mask = np.array([[0, 1]], np.int32)
    nothing = tf.zeros([0])

    def merge_and_look_up(integers, floats=nothing, mask=mask):
        return _compiled(lambda: ops.look_up(_merge(integers, floats, mask)))()

    with harness.raises(invalid, "integer_tensor has shape [2]", "says [1]"):
        merge_and_look_up(tf.zeros([2], tf.int32))
    with harness.raises(invalid, "float_tensor has shape [1]", "says [0]"):
        merge_and_look_up(tf.zeros([1], tf.int32), tf.zeros([1]))
    with harness.raises(invalid, "MergeDedupData: tuple_mask has no integer"):
        merge_and_look_up(tf.zeros([0], tf.int32), mask=np.array([[1, 0]], np.int32))
    with harness.raises(invalid, "SplitDedupData: tuple_mask has no integer"):
        _compiled(lambda: _split(ops.receive(), np.array([[1, 4]], np.int32)))()
    # A program learns what a number stands for only when it uses it.
    with harness.raises(
        tf.errors.FailedPreconditionError, "deduplication data name no received"
    ):
        merge_and_look_up(tf.constant([2**31 - 1]))
    small_model.assert_works(config)
