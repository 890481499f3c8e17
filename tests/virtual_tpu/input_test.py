"""Distributed datasets with every kind of InputOptions."""

import pytest
import tensorflow as tf
from vtpu_testing import CORES, strategy

PER_CORE = 2
BATCH = CORES * PER_CORE
MODE = tf.distribute.InputReplicationMode


def numbers(batch):
    return tf.data.Dataset.range(4 * BATCH).batch(batch, drop_remainder=True)


def per_core(iterator):
    """What each core gets in one step."""

    @tf.function
    def step(iterator):
        return strategy().run(lambda x: tf.cast(x, tf.int32) + 0, (next(iterator),))

    results = strategy().experimental_local_results(step(iterator))
    return [r.numpy().tolist() for r in results]


IN_ORDER = [[PER_CORE * i, PER_CORE * i + 1] for i in range(CORES)]


@pytest.mark.parametrize(
    "options",
    [
        None,
        {"experimental_fetch_to_device": False},
        {"experimental_fetch_to_device": True},
        {
            "experimental_fetch_to_device": True,
            "experimental_per_replica_buffer_size": 3,
        },
    ],
)
def test_dataset_is_cut_into_parts(options):
    found = options and tf.distribute.InputOptions(**options)
    iterator = iter(strategy().experimental_distribute_dataset(numbers(BATCH), found))
    assert per_core(iterator) == IN_ORDER
    assert per_core(iterator)[0] == [BATCH, BATCH + 1]


@pytest.mark.parametrize(
    "options",
    [
        None,
        {"experimental_fetch_to_device": False},
        {"experimental_replication_mode": MODE.PER_WORKER},
    ],
)
def test_one_pipeline_for_all_cores(options):
    found = options and tf.distribute.InputOptions(**options)

    def pipeline(context):
        return numbers(context.get_per_replica_batch_size(BATCH))

    iterator = iter(strategy().distribute_datasets_from_function(pipeline, found))
    assert per_core(iterator) == IN_ORDER


def test_a_pipeline_for_each_core_is_what_tensorflow_refuses():
    options = tf.distribute.InputOptions(
        experimental_place_dataset_on_device=True,
        experimental_fetch_to_device=False,
        experimental_replication_mode=MODE.PER_REPLICA,
    )
    with pytest.raises(NotImplementedError, match="MirroredStrategy"):
        strategy().distribute_datasets_from_function(
            lambda context: numbers(PER_CORE), options
        )


def test_dataset_that_ends():
    iterator = iter(strategy().experimental_distribute_dataset(numbers(BATCH)))
    for _ in range(4):
        per_core(iterator)
    with pytest.raises(tf.errors.OutOfRangeError):
        per_core(iterator)


def test_last_batch_that_is_smaller():
    dataset = tf.data.Dataset.range(BATCH + 3).batch(BATCH)
    total = 0

    @tf.function
    def step(x):
        sums = strategy().run(lambda x: tf.reduce_sum(x), (x,))
        return strategy().reduce("sum", sums, axis=None)

    for x in strategy().experimental_distribute_dataset(dataset):
        total += int(step(x))
    assert total == sum(range(BATCH + 3))


def test_iterator_inside_a_host_loop():
    iterator = iter(strategy().experimental_distribute_dataset(numbers(BATCH)))

    @tf.function
    def steps(iterator):
        total = tf.constant(0, tf.int64)
        for _ in tf.range(4):
            sums = strategy().run(tf.reduce_sum, (next(iterator),))
            total += strategy().reduce("sum", sums, axis=None)
        return total

    assert int(steps(iterator)) == sum(range(4 * BATCH))


def test_strings_stay_on_the_host():
    words = tf.data.Dataset.from_tensor_slices(["a", "bc"] * CORES).batch(2 * CORES)
    options = tf.distribute.InputOptions(experimental_fetch_to_device=False)
    iterator = iter(strategy().experimental_distribute_dataset(words, options))

    @tf.function
    def step(iterator):
        def fn(x):
            return tf.compat.v1.tpu.outside_compilation(tf.strings.length, x)

        return strategy().run(fn, (next(iterator),))

    results = strategy().experimental_local_results(step(iterator))
    assert [r.numpy().tolist() for r in results] == [[1, 2]] * CORES
