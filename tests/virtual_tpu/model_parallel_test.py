"""More than one core per replica."""

import numpy as np
import tensorflow as tf
from vtpu_testing import CORES, resolver

REPLICAS = CORES // 2


def strategy(shape=(1, 1, 1, 2), spmd=False):
    topology = tf.tpu.experimental.initialize_tpu_system(resolver())
    assignment = tf.tpu.experimental.DeviceAssignment.build(
        topology,
        computation_shape=list(shape),
        num_replicas=CORES // int(np.prod(shape)),
    )
    return tf.distribute.TPUStrategy(
        resolver(),
        experimental_device_assignment=assignment,
        experimental_spmd_xla_partitioning=spmd,
    )


def values(found, distributed):
    return [x.numpy() for x in found.experimental_local_results(distributed)]


def test_variables_on_two_logical_cores():
    found = strategy()
    with found.scope():
        v = tf.Variable(2.0)
        with found.extended.experimental_logical_device(1):
            w = tf.Variable(3.0)

    @tf.function
    def step(x):
        def fn(x):
            w.assign_add(v * x, read_value=False)
            return w * x

        return found.run(fn, (x,))

    assert values(found, step(tf.constant(5.0))) == [13.0 * 5.0] * REPLICAS
    devices = [x.device for x in found.experimental_local_results(w)]
    assert [d[-1] for d in devices] == [str(2 * r + 1) for r in range(REPLICAS)]


def test_split_to_logical_devices_has_the_same_numbers():
    found = strategy(spmd=True)
    x = np.random.default_rng(1).normal(size=(8, 4)).astype(np.float32)
    with found.scope():
        w = tf.Variable(tf.ones([4, 6]))

    @tf.function
    def step(x):
        def fn(x):
            y = found.experimental_split_to_logical_devices(x, [2, 1])
            return tf.matmul(y, w)

        return found.run(fn, (x,))

    for value in values(found, step(tf.constant(x))):
        np.testing.assert_allclose(value, x @ np.ones([4, 6]), rtol=1e-5, atol=1e-5)


def test_every_copy_of_a_replicated_variable_is_written():
    found = strategy(spmd=True)
    with found.scope():
        w = tf.Variable([1.0, 2.0])

    @tf.function
    def step(x):
        def fn(x):
            for _ in tf.range(2):
                w.assign_add(x)

        found.run(fn, (x,))

    step(tf.constant([1.0, 1.0]))
    for value in w.values:
        for copy in value.variables:
            np.testing.assert_array_equal(copy.numpy(), [3.0, 4.0])


def test_one_replica_over_all_cores():
    found = strategy((CORES // 2, 1, 1, 2))
    assert found.num_replicas_in_sync == 1
    assert found.run(tf.function(lambda: tf.constant(1.0) + 1.0)).numpy() == 2.0


def test_replica_order_of_the_assignment():
    topology = tf.tpu.experimental.initialize_tpu_system(resolver())
    reverse = [[list(c)] for c in topology.device_coordinates[0][::-1]]
    found = tf.distribute.TPUStrategy(
        resolver(),
        experimental_device_assignment=tf.tpu.experimental.DeviceAssignment(
            topology, core_assignment=reverse
        ),
    )

    @tf.function
    def step():
        return found.run(
            lambda: tf.distribute.get_replica_context().replica_id_in_sync_group * 1
        )

    results = found.experimental_local_results(step())
    assert [x.numpy() for x in results] == list(range(CORES))


def test_manual_partitioning_is_refused_by_name():
    from tensorflow.python.compiler.xla.experimental import xla_sharding

    found = strategy(spmd=True)

    @tf.function
    def step(x):
        def fn(x):
            split = found.experimental_split_to_logical_devices(x, [1, 2])
            sharding = xla_sharding.get_op_sharding(split.op)
            return xla_sharding.auto_to_manual_spmd_partition(split, sharding)

        return found.run(fn, (x,))

    try:
        step(tf.ones([2, 2]))
        raise AssertionError("not refused")
    except tf.errors.UnimplementedError as error:
        assert "does not run manually partitioned computations" in error.message
