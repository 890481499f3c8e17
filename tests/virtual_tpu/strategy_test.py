"""What strategy.run can hold."""

import numpy as np
import tensorflow as tf
from tensorflow.python.tpu import training_loop
from vtpu_testing import CORES, per_replica, replica_context, run, strategy

IDS = list(range(CORES))
TOTAL = sum(IDS)


def replica():
    """Float value r on replica r."""
    return per_replica(float)


def all_sum(x):
    return replica_context().all_reduce("sum", x)


def test_each_replica_runs_on_a_core_of_its_own():
    assert strategy().num_replicas_in_sync == CORES
    assert run(lambda x: x * 2.0, replica()) == [2.0 * i for i in IDS]


def test_results_stay_on_the_core_of_their_replica():
    @tf.function
    def step(x):
        return strategy().run(lambda x: x + 1.0, (x,))

    results = strategy().experimental_local_results(step(replica()))
    cores = [tf.DeviceSpec.from_string(r.backing_device).device_index for r in results]
    assert cores == IDS


def test_replica_id():
    ids = run(lambda: replica_context().replica_id_in_sync_group + 0)
    assert ids == IDS


def test_host_loop_around_run():
    with strategy().scope():
        total = tf.Variable(0.0)

    @tf.function
    def steps(n, x):
        for _ in tf.range(n):
            strategy().run(lambda x: total.assign_add(all_sum(x)), (x,))

    steps(5, replica())
    assert [v.numpy() for v in total.values] == [5.0 * TOTAL] * CORES


def test_loop_inside_with_collectives():
    def fn(x):
        result = tf.constant(0.0)
        for i in tf.range(4):
            result += all_sum(x * tf.cast(i, tf.float32))
        return result

    assert run(fn, replica()) == [6.0 * TOTAL] * CORES


def test_nested_loops_with_collectives_meet_in_the_right_iteration():
    def fn(x):
        result = tf.constant(0.0)
        for i in tf.range(3):
            for j in tf.range(3):
                result = result * 2.0 + all_sum(x + tf.cast(i * 3 + j, tf.float32))
        return result

    expected = 0.0
    for k in range(9):
        expected = expected * 2.0 + TOTAL + CORES * k
    assert run(fn, replica()) == [expected] * CORES


def test_conditional_with_effects_taken_by_some_replicas():
    with strategy().scope():
        v = tf.Variable(
            0.0,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.SUM,
        )

    def fn(x):
        if x > 1.5:
            v.assign_add(x)
        return x + 1.0

    assert run(fn, replica()) == [i + 1.0 for i in IDS]
    assert [x.numpy() for x in v.values] == [float(i) if i > 1 else 0.0 for i in IDS]


def test_function_that_asks_not_to_be_inlined():
    @tf.function(experimental_attributes={"_noinline": True})
    def inner(x):
        return all_sum(x) + all_sum(x * 2.0)

    assert run(lambda x: inner(x) + inner(x + 1.0), replica()) == (
        [6.0 * TOTAL + 3.0 * CORES] * CORES
    )


def test_jit_compiled_function_inside():
    @tf.function(jit_compile=True)
    def inner(x):
        return x * x

    assert run(lambda x: inner(x), replica()) == [float(i * i) for i in IDS]


def test_tensor_array():
    def fn(x):
        array = tf.TensorArray(tf.float32, size=3)
        for i in tf.range(3):
            array = array.write(i, x * tf.cast(i, tf.float32))
        return array.stack()

    for i, value in enumerate(run(fn, replica())):
        np.testing.assert_array_equal(value, [0.0, i, 2.0 * i])


def test_dynamic_shapes():
    def fn(x):
        return tf.boolean_mask(tf.range(4.0), tf.range(4.0) > x)

    assert [len(v) for v in run(fn, replica())] == [3 - i for i in IDS]


def test_gradients_and_all_reduce():
    with strategy().scope():
        w = tf.Variable([1.0, 2.0])

    def fn(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(w * w) * x
        w.assign_sub(0.1 * all_sum(tape.gradient(loss, w)))
        return loss

    run(fn, replica())
    expected = np.float32([1.0, 2.0]) - np.float32(0.1) * np.float32([2, 4]) * TOTAL
    for value in w.values:
        np.testing.assert_allclose(value.numpy(), expected, rtol=1e-6)


def test_all_reduce_of_every_kind():
    def fn(x):
        context = replica_context()
        return context.all_reduce("sum", x), context.all_reduce("mean", x)

    assert run(fn, replica()) == [(TOTAL, TOTAL / CORES)] * CORES


def test_all_gather():
    gathered = run(
        lambda x: replica_context().all_gather(tf.reshape(x, [1]), axis=0), replica()
    )
    for value in gathered:
        np.testing.assert_array_equal(value, IDS)


def test_merge_call():
    with strategy().scope():
        v = tf.Variable(0.0, aggregation=tf.VariableAggregation.SUM)

    def fn(x):
        v.assign_add(x)
        return x

    run(fn, replica())
    assert v.numpy() == TOTAL


def test_each_replica_has_a_random_stream_of_its_own():
    values = run(lambda: tf.random.uniform([8]))
    assert len({v.tobytes() for v in values}) == CORES


def test_outside_compilation_may_do_what_a_tpu_cannot():
    def host(x):
        return tf.strings.to_number(tf.strings.as_string(x)) + 1.0

    values = run(
        lambda x: tf.compat.v1.tpu.outside_compilation(host, x) * 2.0, replica()
    )
    assert values == [2.0 * (i + 1) for i in IDS]


def test_numpy_function_on_the_host():
    def host(x):
        y = tf.numpy_function(lambda a: a * 10.0, [x], tf.float32)
        return tf.ensure_shape(y, [])

    values = run(lambda x: tf.compat.v1.tpu.outside_compilation(host, x), replica())
    assert values == [10.0 * i for i in IDS]


def test_outside_compilation_inside_a_loop():
    def fn(x):
        for _ in tf.range(3):
            x = tf.compat.v1.tpu.outside_compilation(lambda t: t + 1.0, x)
        return x

    assert run(fn, replica()) == [i + 3.0 for i in IDS]


def test_same_function_called_twice_in_one_graph():
    @tf.function
    def inner(x):
        return strategy().run(lambda x: all_sum(x), (x,))

    @tf.function
    def outer(x):
        return inner(x), inner(x)

    for result in outer(replica()):
        values = strategy().experimental_local_results(result)
        assert [v.numpy() for v in values] == [TOTAL] * CORES


def test_distributed_dataset():
    dataset = tf.data.Dataset.range(8 * CORES).batch(2 * CORES, drop_remainder=True)
    iterator = iter(strategy().experimental_distribute_dataset(dataset))

    @tf.function
    def step(iterator):
        per_core = strategy().run(lambda x: tf.reduce_sum(x), (next(iterator),))
        return strategy().reduce("sum", per_core, axis=None)

    sums = [int(step(iterator)) for _ in range(4)]
    n = 2 * CORES
    assert sums == [sum(range(i * n, (i + 1) * n)) for i in range(4)]


def test_session_with_replicate():
    with tf.Graph().as_default():
        out = tf.compat.v1.tpu.replicate(
            lambda a: a * 2.0 + tf.compat.v1.tpu.cross_replica_sum(a),
            [[tf.constant(float(i))] for i in IDS],
        )
        with tf.compat.v1.Session() as session:
            values = session.run(out)
    assert values == [[2.0 * i + TOTAL] for i in IDS]


def test_session_with_training_loop():
    def body(total):
        return total + tf.compat.v1.tpu.cross_replica_sum(total)

    def computation(x):
        return training_loop.repeat(3, body, [x])

    with tf.Graph().as_default():
        out = tf.compat.v1.tpu.replicate(
            computation, [[tf.constant(float(i))] for i in IDS]
        )
        with tf.compat.v1.Session() as session:
            values = session.run(out)
    expected = [float(i) for i in IDS]
    for _ in range(3):
        total = sum(expected)
        expected = [x + total for x in expected]
    assert values == [[x] for x in expected]


def test_batch_parallel_and_shard():
    with tf.Graph().as_default():
        out = tf.compat.v1.tpu.batch_parallel(
            lambda x: x + 1.0, [tf.range(8.0)], num_shards=CORES
        )
        with tf.compat.v1.Session() as session:
            np.testing.assert_array_equal(session.run(out)[0], np.arange(1.0, 9.0))


def test_program_that_asks_for_the_mlir_bridge():
    tf.config.experimental.enable_mlir_bridge()
    try:
        assert run(lambda x: all_sum(x), replica()) == [TOTAL] * CORES
    finally:
        tf.config.experimental.disable_mlir_bridge()
