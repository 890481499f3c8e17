"""Variables that replicas share: written as by the first replica alone."""

import numpy as np
import pytest
import tensorflow as tf
from vtpu_testing import CORES, per_replica, resolver, run, strategy

v1 = tf.compat.v1
STEPS = 5


def outside_compilation(fn, *args):
    return v1.tpu.outside_compilation(fn, *args)


def test_each_replica_sees_its_own_writes_and_the_first_ones_stay():
    v = tf.Variable([1.0, 2.0])

    def fn(x):
        before = v.read_value()
        v.assign_add([x, x + 1.0])
        v.assign(v * 2.0)
        return before, v.read_value()

    for _ in range(STEPS):
        start = v.numpy()
        results = run(fn, per_replica(lambda r: float(r + 1)))
        for r, (before, after) in enumerate(results):
            np.testing.assert_array_equal(before, start)
            np.testing.assert_array_equal(after, 2 * (start + [r + 1, r + 2]))
        np.testing.assert_array_equal(v.numpy(), results[0][1])


def test_in_loops_and_conditionals():
    v = tf.Variable(0)

    def fn(x):
        for _ in tf.range(3):
            if x > 0.5:
                v.assign_add(10)
            else:
                v.assign_add(1)
        return v.read_value()

    assert run(fn, per_replica(float)) == [3] + [30] * (CORES - 1)
    assert v.numpy() == 3


def test_in_a_loop_of_the_host():
    v = tf.Variable(0.0)

    @tf.function
    def steps(x):
        for _ in tf.range(100):
            v.assign_add(1.0)
            strategy().run(lambda x: v.assign(v * 0.5 + x), (x,))
            v.assign_sub(0.5)

    expected = 0.0
    for _ in range(100):
        expected = (expected + 1.0) * 0.5 + 1.0 - 0.5
    steps(per_replica(lambda r: 1.0 + r))
    assert v.numpy() == expected


@pytest.mark.parametrize("repeat", range(3))
def test_sparse_writes(repeat):
    v = tf.Variable(tf.zeros([4, 2]))

    def fn(x):
        index = tf.cast(x, tf.int32)
        v.scatter_add(tf.IndexedSlices(tf.ones([1, 2]), index[None]))
        v.scatter_update(tf.IndexedSlices(tf.fill([1, 2], x), index[None]))
        v.scatter_add(tf.IndexedSlices(tf.ones([1, 2]), index[None]))
        return v.read_value()

    for _ in range(STEPS):
        before = v.numpy()
        for r, after in enumerate(run(fn, per_replica(float))):
            expected = before.copy()
            expected[r] = r + 1
            np.testing.assert_array_equal(after, expected)
    np.testing.assert_array_equal(v.numpy()[0], [1.0, 1.0])
    assert not v.numpy()[1:].any()


def test_state_of_random_numbers():
    generator = tf.random.Generator.from_seed(7)
    alike = tf.random.Generator.from_seed(7)

    def fn():
        return generator.normal([3])

    for _ in range(STEPS):
        expected = alike.normal([3]).numpy()
        for numbers in run(fn):
            np.testing.assert_array_equal(numbers, expected)


def test_optimizer_of_the_program():
    # Every replica applies the same gradients, so that the first's are anyone's.
    w = tf.Variable(tf.zeros([4, 1]))
    momentum = tf.Variable(tf.zeros([4, 1]))

    def fn(x):
        gradient = tf.fill(
            [4, 1], tf.distribute.get_replica_context().all_reduce("sum", x)
        )
        tf.raw_ops.ResourceApplyMomentum(
            var=w.handle, accum=momentum.handle, lr=0.1, grad=gradient, momentum=0.5
        )

    total = float(sum(range(CORES)))
    for _ in range(2):
        run(lambda x: fn(x) or 0, per_replica(float))
    np.testing.assert_allclose(w.numpy(), np.full([4, 1], -0.25 * total), rtol=1e-6)


def test_variable_of_the_host_counts_every_replica():
    v = tf.Variable(0)

    def fn():
        outside_compilation(lambda: v.assign_add(1))
        return 0

    run(fn)
    assert v.numpy() == CORES


def test_tables_stay_shared():
    table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, -1.0)

    def fn(x):
        table.insert(tf.cast(x, tf.int64)[None], x[None])
        return 0

    run(fn, per_replica(float))
    assert table.size().numpy() == CORES


def shard_losses(optimizer, shards):
    """TensorFlow 1: variables made inside of the computation are shared."""
    x = np.random.default_rng(3).normal(size=[16, 4]).astype(np.float32)
    y = x.sum(axis=1, keepdims=True)
    with tf.Graph().as_default():

        def compute(x, y):
            w = v1.get_variable(
                "w", [4, 1], initializer=v1.zeros_initializer(), use_resource=True
            )
            steps = v1.get_variable(
                "steps", [], initializer=v1.zeros_initializer(), use_resource=True
            )
            loss = tf.reduce_mean((x @ w - y) ** 2)
            train = v1.tpu.CrossShardOptimizer(optimizer()).minimize(loss)
            with tf.control_dependencies([train, steps.assign_add(1.0)]):
                return tf.identity(loss)

        out = v1.tpu.shard(compute, [tf.constant(x), tf.constant(y)], shards)
        with v1.Session() as session:
            session.run(v1.tpu.initialize_system())
            session.run(v1.global_variables_initializer())
            losses = [float(np.mean(session.run(out))) for _ in range(STEPS)]
            steps = next(v for v in v1.global_variables() if v.op.name == "steps")
            assert session.run(steps) == STEPS
    return losses


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: v1.train.GradientDescentOptimizer(0.1),
        lambda: v1.train.MomentumOptimizer(0.1, 0.9),
        lambda: v1.train.AdamOptimizer(0.1),
    ],
    ids=["sgd", "momentum", "adam"],
)
def test_shards_train_as_one(optimizer):
    one = shard_losses(optimizer, 1)
    assert one[-1] != one[0]
    several = shard_losses(optimizer, CORES)
    np.testing.assert_allclose(several, one, rtol=1e-4)
    assert shard_losses(optimizer, CORES) == several


@pytest.mark.parametrize("device", ["CPU:0", "TPU:0", "TPU:1", "TPU:3"])
@pytest.mark.parametrize("cores_per_replica", [1, 2])
def test_wherever_the_variable_is(device, cores_per_replica):
    topology = tf.tpu.experimental.initialize_tpu_system(resolver())
    assignment = tf.tpu.experimental.DeviceAssignment.build(
        topology,
        computation_shape=[1, 1, 1, cores_per_replica],
        num_replicas=CORES // cores_per_replica,
    )
    found = tf.distribute.TPUStrategy(
        resolver(), experimental_device_assignment=assignment
    )
    with tf.device(device):
        v = tf.Variable(1.0)

    @tf.function
    def step():
        def fn():
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            v.assign_add(tf.cast(replica + 1, tf.float32))
            return v.read_value()

        return found.run(fn)

    results = found.experimental_local_results(step())
    assert [float(x) for x in results] == [2.0 + r for r in range(len(results))]
    assert v.numpy() == 2.0
