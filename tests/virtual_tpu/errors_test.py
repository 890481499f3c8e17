"""Errors reach the caller, and nothing is left waiting."""

import threading
import time

import pytest
import tensorflow as tf
from tensorflow.python.eager import cancellation
from tensorflow.python.tpu.ops import tpu_ops
from vtpu_testing import (
    CORES,
    cancelled,
    embedding_config,
    per_replica,
    replica_context,
    resolver,
    run,
)

from tf_embed import raw_ops


def all_sum(x):
    return replica_context().all_reduce("sum", x)


def test_error_in_one_replica_reaches_the_caller():
    def fn(x):
        with tf.control_dependencies([tf.debugging.assert_less(x, 2.5)]):
            x = tf.identity(x)
        return all_sum(x)

    with pytest.raises(tf.errors.InvalidArgumentError, match="assertion failed"):
        run(fn, per_replica(float))


@pytest.mark.parametrize("wrap", [lambda fn: fn, tf.function], ids=["", "nested"])
def test_error_says_where_in_the_program(wrap):
    def out_of_range(x):
        return tf.gather([1.0, 2.0], tf.cast(x, tf.int32) + 5)

    line = out_of_range.__code__.co_firstlineno + 1
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        run(wrap(out_of_range), per_replica(float))
    assert f'errors_test.py", line {line}, in out_of_range' in str(error.value)


def test_next_step_after_an_error_is_unharmed():
    def fn(x, limit):
        for i in tf.range(3):
            with tf.control_dependencies([tf.debugging.assert_less(x, limit)]):
                x = all_sum(x) + tf.cast(i, tf.float32)
        return x

    for _ in range(3):
        with pytest.raises(tf.errors.InvalidArgumentError):
            run(fn, per_replica(float), 5.0)
        expected = 6.0
        expected = CORES * expected + 1.0
        expected = CORES * expected + 2.0
        assert run(fn, per_replica(float), 1e9) == [expected] * CORES


def test_host_error_reaches_the_caller():
    def host(x):
        def fail(value):
            raise ValueError(f"host refuses {value}")

        return tf.ensure_shape(tf.numpy_function(fail, [x], tf.float32), [])

    with pytest.raises(tf.errors.InvalidArgumentError, match="host refuses"):
        run(lambda x: tf.compat.v1.tpu.outside_compilation(host, x), per_replica(float))


def one_replica_never_comes(x):
    # Replica 0 waits for an infeed that nobody feeds, the others for replica 0.
    def wait():
        with tf.control_dependencies([tpu_ops.infeed_dequeue(tf.float32, [])]):
            return tf.identity(x)

    return tf.cond(x < 0.5, wait, lambda: tf.identity(x))


def test_cancelled_wait_for_a_collective():
    error = cancelled(lambda x: all_sum(one_replica_never_comes(x)), per_replica(float))
    assert isinstance(error, tf.errors.CancelledError), error
    assert run(lambda x: all_sum(x), per_replica(float)) == [6.0] * CORES


def test_cancelled_wait_for_a_collective_in_a_loop():
    def fn(x):
        for _ in tf.range(2):
            x = all_sum(one_replica_never_comes(x))
        return x

    error = cancelled(fn, per_replica(float))
    assert isinstance(error, tf.errors.CancelledError), error


def test_cancelled_wait_for_an_infeed():
    error = cancelled(lambda: tpu_ops.infeed_dequeue(tf.float32, []))
    assert isinstance(error, tf.errors.CancelledError), error


def test_cancelled_wait_for_room_in_an_outfeed():
    def fn():
        for i in tf.range(5000):  # more than an outfeed holds
            tpu_ops.outfeed_enqueue_tuple([i])
        return tf.constant(0)

    error = cancelled(fn)
    assert isinstance(error, tf.errors.CancelledError), error


def test_cancelled_wait_of_the_host_for_an_outfeed():
    @tf.function
    def host():
        return tpu_ops.outfeed_dequeue(tf.int32, [], device_ordinal=CORES - 1)

    # What the test before left behind goes with the system.
    tf.tpu.experimental.initialize_tpu_system(resolver())
    manager = cancellation.CancellationManager()
    function = manager.get_cancelable_function(host.get_concrete_function())
    errors = []

    def wait():
        try:
            function()
        except tf.errors.OpError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.5)
    manager.start_cancel()
    thread.join(20.0)
    assert isinstance(errors[0], tf.errors.CancelledError)


def embedding_of():
    """A configured engine that nobody feeds."""
    config = embedding_config()
    tf.tpu.experimental.initialize_tpu_system(resolver())
    raw_ops.ConfigureTPUEmbedding(config=config)
    return config


def test_cancelled_wait_for_a_batch_of_ids():
    config = embedding_of()
    error = cancelled(
        lambda: raw_ops.RecvTPUEmbeddingActivations(num_outputs=1, config=config)[0]
    )
    assert isinstance(error, tf.errors.CancelledError), error


def test_cancelled_wait_of_one_core_for_a_batch_of_ids():
    # The others have theirs; the step after is whole again.
    config = embedding_of()

    def enqueue(core):
        raw_ops.EnqueueTPUEmbeddingArbitraryTensorBatch(
            sample_indices_or_row_splits=[[0, 1]],
            embedding_indices=[[1]],
            aggregation_weights=[[1.0]],
            mode_override="inference",
            device_ordinal=core,
            combiners=["sum"],
        )

    def receive():
        return raw_ops.RecvTPUEmbeddingActivations(num_outputs=1, config=config)[0]

    for core in range(1, CORES):
        enqueue(core)
    error = cancelled(receive)
    assert isinstance(error, tf.errors.CancelledError), error


def test_cancelled_wait_of_the_host_for_room_in_an_infeed():
    tf.tpu.experimental.initialize_tpu_system(resolver())

    @tf.function
    def host():
        for i in tf.range(5000):  # more than an infeed holds
            tpu_ops.infeed_enqueue_tuple([i], [[]], device_ordinal=0)

    manager = cancellation.CancellationManager()
    function = manager.get_cancelable_function(host.get_concrete_function())
    errors = []

    def wait():
        try:
            function()
        except tf.errors.OpError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.5)
    assert thread.is_alive(), "an infeed should hold less"
    manager.start_cancel()
    thread.join(20.0)
    assert isinstance(errors[0], tf.errors.CancelledError)
    tf.tpu.experimental.initialize_tpu_system(resolver())
