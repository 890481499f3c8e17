"""Every collective, every dtype that TensorFlow declares for it."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops
from tensorflow.python.framework import op_def_registry
from tensorflow.python.tpu.ops import tpu_ops
from vtpu_testing import CORES, per_replica, run

SUM_TYPES = [tf.half, tf.bfloat16, tf.float32, tf.float64, tf.int32, tf.uint32]
NUMBER_TYPES = [
    *SUM_TYPES,
    tf.int8,
    tf.uint8,
    tf.int16,
    tf.uint16,
    tf.int64,
    tf.uint64,
    tf.complex64,
    tf.complex128,
]


def values(dtype, shape):
    """Different numbers on each replica."""
    size = int(np.prod(shape))
    return [
        tf.cast(tf.reshape(tf.range(size) + size * r, shape), dtype)
        for r in range(CORES)
    ]


def collective(fn, inputs):
    return np.stack(run(fn, per_replica(lambda r: inputs[r])))


@pytest.mark.parametrize("dtype", SUM_TYPES, ids=lambda d: d.name)
def test_cross_replica_sum(dtype):
    inputs = values(dtype, [3])
    expected = np.sum([x.numpy().astype(np.float64) for x in inputs], axis=0)
    for result in collective(tpu_ops.cross_replica_sum, inputs):
        np.testing.assert_array_equal(result.astype(np.float64), expected)


def test_cross_replica_sum_of_groups():
    groups = [[0, 2], [3, 1]]
    inputs = values(tf.float32, [2])
    results = collective(lambda x: tpu_ops.cross_replica_sum(x, groups), inputs)
    for group in groups:
        expected = sum(inputs[r].numpy() for r in group)
        for r in group:
            np.testing.assert_array_equal(results[r], expected)


def test_narrow_floats_are_rounded_once():
    # In bfloat16, 256 + 1 is 256 again: summing without rounding gives 260.
    inputs = [tf.constant(x, tf.bfloat16) for x in (256.0, 1.0, 1.0, 2.0)]
    results = collective(tpu_ops.cross_replica_sum, inputs)
    assert [float(x) for x in results] == [260.0] * CORES


@pytest.mark.parametrize("dtype", [*NUMBER_TYPES, tf.bool], ids=lambda d: d.name)
def test_all_to_all(dtype):
    inputs = values(dtype, [CORES, 3])
    results = collective(
        lambda x: tpu_ops.all_to_all(
            x, concat_dimension=1, split_dimension=0, split_count=CORES
        ),
        inputs,
    )
    for r in range(CORES):
        expected = np.concatenate([x.numpy()[r : r + 1] for x in inputs], axis=1)
        np.testing.assert_array_equal(results[r], expected)


def test_all_to_all_of_groups_in_the_middle_dimension():
    groups = [[2, 0], [1, 3]]
    inputs = values(tf.float32, [2, 4, 3])
    results = collective(
        lambda x: tpu_ops.all_to_all(
            x,
            concat_dimension=2,
            split_dimension=1,
            split_count=2,
            group_assignment=groups,
        ),
        inputs,
    )
    for group in groups:
        for i, r in enumerate(group):
            blocks = [np.split(inputs[m].numpy(), 2, axis=1)[i] for m in group]
            np.testing.assert_array_equal(results[r], np.concatenate(blocks, axis=2))


@pytest.mark.parametrize("dtype", NUMBER_TYPES, ids=lambda d: d.name)
def test_collective_permute(dtype):
    inputs = values(dtype, [3])
    results = collective(
        lambda x: tpu_ops.collective_permute(x, [[0, 1], [1, 3]]), inputs
    )
    np.testing.assert_array_equal(results[1], inputs[0].numpy())
    np.testing.assert_array_equal(results[3], inputs[1].numpy())
    np.testing.assert_array_equal(results[0], np.zeros_like(inputs[0]))
    np.testing.assert_array_equal(results[2], np.zeros_like(inputs[0]))


REDUCTIONS = {
    "Add": np.sum,
    "Mul": np.prod,
    "Min": np.min,
    "Max": np.max,
    "Mean": np.mean,
}


XLA_TYPES = [tf.half, tf.bfloat16, tf.float32, tf.int32, tf.uint32]
QUANTIZED_TYPES = [tf.qint8, tf.quint8, tf.qint16, tf.quint16, tf.qint32]


def declared(op):
    """What TensorFlow's definition of the op allows as its T."""
    (attr,) = (a for a in op_def_registry.get(op).attr if a.name == "T")
    return {tf.as_dtype(t) for t in attr.allowed_values.list.type}


@pytest.mark.parametrize(
    "op, tested",
    [
        ("CrossReplicaSum", SUM_TYPES),
        ("AllToAll", [*NUMBER_TYPES, *QUANTIZED_TYPES, tf.bool]),
        ("CollectivePermute", [*NUMBER_TYPES, *QUANTIZED_TYPES]),
        ("XlaAllReduce", XLA_TYPES),
        ("XlaReduceScatter", XLA_TYPES),
    ],
)
def test_every_declared_dtype_is_tested(op, tested):
    assert declared(op) == set(tested)


@pytest.mark.parametrize("dtype", QUANTIZED_TYPES, ids=lambda d: d.name)
def test_quantized_numbers_are_moved(dtype):
    bits = {1: tf.uint8, 2: tf.int16, 4: tf.int32}[dtype.size]
    inputs = values(bits, [CORES])

    def fn(x):
        x = tf.bitcast(x, dtype)
        moved = tpu_ops.collective_permute(x, [[0, 1]])
        exchanged = tpu_ops.all_to_all(
            x, concat_dimension=0, split_dimension=0, split_count=CORES
        )
        return tf.bitcast(moved, bits), tf.bitcast(exchanged, bits)

    results = run(fn, per_replica(lambda r: inputs[r]))
    np.testing.assert_array_equal(results[1][0], inputs[0].numpy())
    for r, (_, exchanged) in enumerate(results):
        np.testing.assert_array_equal(exchanged, [x.numpy()[r] for x in inputs])


@pytest.mark.parametrize("dtype", XLA_TYPES, ids=lambda d: d.name)
def test_xla_reductions_of_groups(dtype):
    groups = [[0, 2], [3, 1]]
    inputs = values(dtype, [2])

    def fn(x):
        return gen_xla_ops.xla_all_reduce(
            input=x, group_assignment=groups, reduce_op="Max", mode="CrossReplica"
        ), gen_xla_ops.xla_reduce_scatter(
            input=x, group_assignment=groups, scatter_dimension=0, reduce_op="Add"
        )

    results = run(fn, per_replica(lambda r: inputs[r]))
    for group in groups:
        members = np.stack([inputs[r].numpy().astype(np.float64) for r in group])
        for i, r in enumerate(group):
            largest, scattered = (x.astype(np.float64) for x in results[r])
            np.testing.assert_array_equal(largest, members.max(axis=0))
            np.testing.assert_array_equal(scattered, members.sum(axis=0)[i : i + 1])


def test_collective_outside_of_a_computation_is_refused():
    with (
        tf.device("TPU:0"),
        pytest.raises(tf.errors.InvalidArgumentError, match="in no TPU computation"),
    ):
        tpu_ops.cross_replica_sum(tf.constant(1.0), [[0, 1]])


@pytest.mark.parametrize("name", REDUCTIONS)
def test_xla_all_reduce(name):
    inputs = values(tf.float32, [3])
    results = collective(
        lambda x: gen_xla_ops.xla_all_reduce(
            input=x,
            group_assignment=[list(range(CORES))],
            reduce_op=name,
            mode="CrossReplica",
        ),
        inputs,
    )
    expected = REDUCTIONS[name](np.stack(inputs), axis=0)
    for result in results:
        np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_xla_reduce_scatter():
    inputs = values(tf.float32, [2, CORES])
    results = collective(
        lambda x: gen_xla_ops.xla_reduce_scatter(
            input=x,
            group_assignment=[list(range(CORES))],
            scatter_dimension=1,
            reduce_op="Add",
        ),
        inputs,
    )
    total = np.sum(np.stack(inputs), axis=0)
    for r in range(CORES):
        np.testing.assert_array_equal(results[r], total[:, r : r + 1])


def test_different_shapes_are_refused_by_name():
    inputs = [tf.zeros([r + 1]) for r in range(CORES)]

    def fn(x):
        return tpu_ops.cross_replica_sum(tf.boolean_mask(x, x < 1.0))

    with pytest.raises(tf.errors.InvalidArgumentError, match="must be the same"):
        collective(fn, inputs)


@pytest.mark.parametrize(
    "groups, message",
    [
        ([[0, 1]], "replica [23] is in no group"),
        ([[0, 1], [2, 7]], "names replica 7, outside of 0 to 3"),
        ([[0, 1], [2, -1]], "names replica -1, outside of 0 to 3"),
        ([[0, 1, 2, 3, 0]], "names replica 0 a second time"),
        ([[0, 1], [1, 2]], "names replica 1 a second time"),
    ],
)
def test_bad_groups_are_refused(groups, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        collective(
            lambda x: tpu_ops.cross_replica_sum(x, groups), values(tf.float32, [1])
        )


@pytest.mark.parametrize("others", [[[3, 2, 1, 0]], [[1, 0], [2, 3]], [[1, 2]]])
def test_groups_that_differ_between_replicas_are_refused(others):
    def fn(x):
        groups = tf.cond(
            x < 0.5, lambda: tf.constant([[0, 1, 2, 3]]), lambda: tf.constant(others)
        )
        return tf.raw_ops.CrossReplicaSum(input=x, group_assignment=groups, name="it")

    message = "it: the replicas disagree about their groups|it: replica . is in no"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        run(fn, per_replica(float))


@pytest.mark.parametrize(
    "pairs, message",
    [
        ([[0, 9]], "names a replica outside of 0 to 3"),
        ([[0, 1], [0, 2]], "names a source or a target a second time"),
    ],
)
def test_bad_permutations_are_refused(pairs, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        collective(
            lambda x: tpu_ops.collective_permute(x, pairs), values(tf.float32, [1])
        )
