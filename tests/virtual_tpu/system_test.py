"""The TPU system: before it is initialized, and after it was shut down."""

import pytest
import tensorflow as tf
from vtpu_testing import embedding_config, run_program

import tf_embed
from tf_embed import raw_ops

NOT_INITIALIZED = "The TPU system has not been initialized"


@pytest.fixture
def resolver():
    return tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")


@pytest.fixture
def strategy(resolver):
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)


def counting(strategy):
    """A variable, and a step that adds one to it on each replica."""
    with strategy.scope():
        count = tf.Variable(0.0, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)

    @tf.function
    def step():
        def fn():
            count.assign_add(1.0)
            return count + 0.0

        return strategy.run(fn)

    return count, step


def test_no_step_after_shutdown_until_initialized_again(strategy, resolver):
    count, step = counting(strategy)
    step()
    tf.tpu.experimental.shutdown_tpu_system(resolver)
    for _ in range(2):
        with pytest.raises(tf.errors.FailedPreconditionError, match=NOT_INITIALIZED):
            step()
    assert count.numpy() == 1.0  # the refused steps changed nothing
    tf.tpu.experimental.initialize_tpu_system(resolver)
    step()
    assert count.numpy() == 2.0


def test_host_loop_after_shutdown(strategy, resolver):
    count, step = counting(strategy)

    @tf.function
    def steps():
        for _ in tf.range(3):
            step()

    steps()
    assert count.numpy() == 3.0
    tf.tpu.experimental.shutdown_tpu_system(resolver)
    with pytest.raises(tf.errors.FailedPreconditionError, match=NOT_INITIALIZED):
        steps()
    assert count.numpy() == 3.0


@pytest.mark.parametrize(
    "reset",
    [
        tf.tpu.experimental.shutdown_tpu_system,
        tf.tpu.experimental.initialize_tpu_system,
    ],
)
def test_the_embedding_engine_goes_with_the_system(strategy, resolver, reset):
    raw_ops.ConfigureTPUEmbedding(config=embedding_config())
    assert tf_embed.stats().configured
    reset(resolver)
    assert not tf_embed.stats().configured


def test_before_anything_is_initialized():
    # A strategy initializes nothing by itself.
    done = run_program(
        """
        import tensorflow as tf
        import tf_embed

        @tf.function
        def step():
            return tf.compat.v1.tpu.rewrite(lambda: tf.constant(1.0) + 1.0)

        try:
            step()
        except tf.errors.FailedPreconditionError as error:
            print(error.message)
        """,
        cores=2,
    )
    assert done.returncode == 0, done.stderr
    assert NOT_INITIALIZED in done.stdout
    assert "tf.tpu.experimental.initialize_tpu_system" in done.stdout


def test_session_before_initialize_system():
    done = run_program(
        """
        import tensorflow.compat.v1 as tf
        import tf_embed
        tf.disable_v2_behavior()
        (two,) = tf.tpu.rewrite(lambda: tf.constant(1.0) + 1.0)
        start, stop = tf.tpu.initialize_system(), tf.tpu.shutdown_system()
        with tf.Session() as session:
            for op in (two, start, two, stop, two):
                try:
                    value = session.run(op)
                    print(value if op is two else "-")
                except tf.errors.FailedPreconditionError:
                    print("refused")
        """,
        cores=2,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["refused", "-", "2.0", "-", "refused"]
