"""More than one core per replica."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops
from tensorflow.python.compiler.xla.experimental import xla_sharding
from tensorflow.python.distribute import tpu_util
from tensorflow.python.ops import gen_tpu_partition_ops as tpu_partition_ops
from tensorflow.python.tpu import tpu_replication
from vtpu_testing import CORES, resolver, run_program

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


ALL_SHAPES = """
import itertools
import numpy as np
import tensorflow as tf
import tf_embed

resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")
topology = tf.tpu.experimental.initialize_tpu_system(resolver)
sizes = [range(1, n + 1) for n in topology.mesh_shape]
for shape in itertools.product(*sizes):
    if any(n % s for n, s in zip(topology.mesh_shape, shape)):
        continue
    replicas = topology.num_tasks * 8 // int(np.prod(shape))
    assignment = tf.tpu.experimental.DeviceAssignment.build(
        topology, computation_shape=list(shape), num_replicas=replicas)
    strategy = tf.distribute.TPUStrategy(
        resolver, experimental_device_assignment=assignment)
    last = assignment.num_cores_per_replica - 1
    with strategy.scope(), strategy.extended.experimental_logical_device(last):
        v = tf.Variable(0.0)

    @tf.function
    def step():
        def fn():
            context = tf.distribute.get_replica_context()
            replica = tf.cast(context.replica_id_in_sync_group, tf.float32)
            v.assign_add(context.all_reduce("sum", replica + 1.0))
            return replica + v
        return strategy.run(fn)

    results = strategy.experimental_local_results(step())
    total = replicas * (replicas + 1) / 2
    assert [x.numpy() for x in results] == [r + total for r in range(replicas)]
    for replica, copy in enumerate(strategy.experimental_local_results(v)):
        core = assignment.tpu_ordinal(replica=replica, logical_core=last)
        assert copy.device.endswith(f"TPU:{core}"), (shape, replica, copy.device)
    print("shape", shape, replicas)
"""


def test_every_shape_that_the_topology_allows():
    done = run_program(ALL_SHAPES, cores=8)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("shape") == 8  # of the mesh [2, 2, 1, 2]


def test_reducing_over_partitions_is_refused_by_name():
    found = strategy()

    def fn(x):
        return gen_xla_ops.xla_all_reduce(
            input=x,
            group_assignment=[list(range(REPLICAS))],
            reduce_op="Add",
            mode="CrossReplicaAndPartition",
        )

    with pytest.raises(tf.errors.UnimplementedError, match="reduces over replicas"):
        run(found, fn, tf.constant(1.0))


def split(found, x, dims):
    return found.experimental_split_to_logical_devices(x, dims)


def manual(found, x, dims, fn):
    """fn of each shard of x, partitioned by hand."""
    y = split(found, x, dims)
    sharding = xla_sharding.get_op_sharding(y.op)
    part = fn(xla_sharding.auto_to_manual_spmd_partition(y, sharding))
    return xla_sharding.manual_to_auto_spmd_partition(part, sharding, x.shape)


def run(found, fn, *args):
    @tf.function
    def step(*args):
        return found.run(fn, args)

    return values(found, step(*args))


X = np.random.default_rng(4).normal(size=(4, 6)).astype(np.float32)


def each_half(fn, axis):
    return np.concatenate([fn(half) for half in np.split(X, 2, axis)], axis)


@pytest.mark.parametrize("axis", [0, 1])
def test_manual_partitioning_computes_with_shards(axis):
    found = strategy(spmd=True)
    dims = [2, 1] if axis == 0 else [1, 2]

    def fn(x):
        return manual(found, x, dims, lambda part: part / tf.reduce_sum(part))

    expected = each_half(lambda half: half / half.sum(), axis)
    for value in run(found, fn, tf.constant(X)):
        np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_manual_partitioning_with_a_loop_and_a_function():
    found = strategy(spmd=True)
    with found.scope():
        w = tf.Variable(2.0)

    @tf.function
    def step(part):
        return part - w * tf.reduce_max(part)

    def fn(x):
        def body(part):
            for _ in tf.range(3):
                part = step(part)
            return part

        return manual(found, x, [2, 1], tf.function(body))

    def half(part):
        for _ in range(3):
            part = part - 2.0 * part.max()
        return part

    for value in run(found, fn, tf.constant(X)):
        np.testing.assert_allclose(value, each_half(half, 0), rtol=1e-4, atol=1e-4)


def test_manual_partitioning_on_four_cores():
    found = strategy((2, 1, 1, 2), spmd=True)

    def fn(x):
        return manual(found, x, [2, 2], lambda part: part - tf.reduce_min(part))

    (value,) = run(found, fn, tf.constant(X))
    for rows in (slice(0, 2), slice(2, 4)):
        for columns in (slice(0, 3), slice(3, 6)):
            part = X[rows, columns]
            np.testing.assert_allclose(value[rows, columns], part - part.min())


def test_manually_partitioned_write_is_refused_by_name():
    found = strategy(spmd=True)
    with found.scope():
        w = tf.Variable(0.0)

    def fn(x):
        def body(part):
            w.assign(tf.reduce_sum(part))
            return part

        return manual(found, x, [2, 1], body)

    with pytest.raises(tf.errors.UnimplementedError, match="that write a variable"):
        run(found, fn, tf.constant(X))


def test_sharded_variable_is_refused_by_name():
    # Only by a raw op: TensorFlow's own classes replicate what is on all cores.
    found = strategy(spmd=True)
    parts = []
    for core in range(2):
        with tf.device(f"TPU:{core}"):
            parts.append(tf.Variable([1.0, 2.0]))

    def fn(x):
        with tpu_util.outside_or_skip_tpu_context():
            handle = tpu_partition_ops.tpu_partitioned_input_v2(
                [part.handle for part in parts], partition_dims=[2], is_packed=False
            )
        return x + tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32)

    with pytest.raises(tf.errors.UnimplementedError, match="sharded over the logical"):
        run(found, fn, tf.constant([1.0]))


def host_map(fn, x):
    return tpu_replication.experimental_map_outside_compilation(fn, x)


def centred(x):
    return x - tf.reduce_mean(x)


def test_map_outside_compilation_maps_each_shard():
    found = strategy(spmd=True)

    def fn(x):
        y = host_map(centred, split(found, x, [2, 1]))
        return split(found, y, [2, 1]) + 1.0

    expected = each_half(lambda half: half - half.mean(), 0) + 1.0
    for value in run(found, fn, tf.constant(X)):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


def test_map_outside_compilation_of_a_function_with_a_loop():
    found = strategy(spmd=True)

    @tf.function
    def host(x):
        for _ in tf.range(2):
            x = x * x - tf.reduce_mean(x)
        return tf.numpy_function(lambda a: a + a.min(), [x], tf.float32)

    def fn(x):
        y = tf.ensure_shape(host_map(host, split(found, x, [1, 2])), X.shape)
        return split(found, y, [1, 2])

    def half(x):
        for _ in range(2):
            x = x * x - x.mean()
        return x + x.min()

    for value in run(found, fn, tf.constant(X)):
        np.testing.assert_allclose(value, each_half(half, 1), rtol=1e-4, atol=1e-4)


def test_map_outside_compilation_wants_a_split_input():
    found = strategy(spmd=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match="no input of"):
        run(found, lambda x: host_map(centred, x), tf.constant(X))
