"""Counters, settings and the end of the engine, as Python sees them."""

import glob
import os
import threading

import numpy as np
import pytest
import tensorflow as tf
import testing
from google.protobuf.descriptor import FieldDescriptor

import tf_embed
from tf_embed import raw_ops
from tf_embed.engine_stats_pb2 import EngineStats, TableStats


@pytest.fixture(autouse=True)
def fresh_engine():
    tf_embed.shutdown()
    tf_embed.set_recv_timeout(30)
    yield
    tf_embed.shutdown()
    tf_embed.set_recv_timeout(None)
    tf_embed.set_prune_negative_ids(False)


_USER = [1, 1, 7, 0]
_ITEM = [5, 2, 2, 3]
_SEEN = [[0, 1], [2], [], [5, 5]]


def _enqueue(user=_USER, mode="unspecified"):
    splits, seen = testing.ragged(_SEEN)
    raw_ops.EnqueueTPUEmbeddingArbitraryTensorBatch(
        sample_indices_or_row_splits=[testing.NONE, testing.NONE, splits],
        embedding_indices=[
            tf.constant(user, tf.int64),
            tf.constant(_ITEM, tf.int64),
            seen,
        ],
        aggregation_weights=[testing.NO_WEIGHTS] * 3,
        mode_override=mode,
    )


def _recv(config):
    return raw_ops.RecvTPUEmbeddingActivations(num_outputs=3, config=config)


def _step(config):
    _enqueue()
    raw_ops.SendTPUEmbeddingGradients(
        inputs=[tf.ones_like(x) for x in _recv(config)],
        learning_rates=[],
        config=config,
    )


def test_without_engine_all_is_zero():
    assert tf_embed.stats() == EngineStats()


def test_counters_after_known_steps():
    config = testing.feature_config()
    raw_ops.ConfigureTPUEmbedding(config=config)
    stats = tf_embed.stats()
    assert stats.configured
    assert [table.name for table in stats.tables] == ["user", "item"]
    assert list(stats.queue_depth) == [0]
    assert stats.steps_completed == 0
    # Parameters alone, as SGD has no slots.
    assert stats.tables[0].table_bytes >= 8 * 2 * 4
    assert stats.tables[1].table_bytes >= 6 * 3 * 4

    for _ in range(3):
        _step(config)
    _enqueue()
    _enqueue()

    stats = tf_embed.stats()
    user, item = stats.tables
    assert user.ids_looked_up == 3 * 4
    assert user.ids_updated == 3 * 4
    assert user.rows_updated == 3 * len(set(_USER))
    # The seen feature, [4, 2], takes rows of the four samples.
    assert item.ids_looked_up == 3 * (4 + 5)
    assert item.ids_updated == 3 * (4 + 5)
    assert item.unique_ids == 3 * len({*_ITEM, *sum(_SEEN, [])})
    assert item.rows_updated == item.unique_ids
    # Two batches wait in the queue.
    assert (user.ids_enqueued, item.ids_enqueued) == (5 * 4, 5 * (4 + 5))
    assert user.bytes_looked_up == 3 * 4 * 2 * 4
    assert item.bytes_updated == item.rows_updated * 3 * 4
    assert list(stats.queue_depth) == [2]
    assert stats.batches_enqueued == 5
    assert stats.batches_received == 3
    assert stats.steps_completed == 3
    assert stats.negative_ids_pruned == 0
    assert stats.enqueue_ns > 0
    assert stats.lookup_ns > 0
    assert stats.update_ns > 0
    for stage in ("enqueue", "lookup", "update"):
        of_tables = [getattr(table, f"{stage}_ns") for table in stats.tables]
        assert min(of_tables) > 0
        # On so little data one thread works, so this is shared out.
        assert sum(of_tables) <= getattr(stats, f"{stage}_ns")
    assert user.load_ns == user.retrieve_ns == 0
    raw_ops.RetrieveTPUEmbeddingStochasticGradientDescentParameters(
        table_name="user", num_shards=1, shard_id=0
    )
    user, item = tf_embed.stats().tables
    assert user.retrieve_ns > 0
    assert item.retrieve_ns == 0


def test_configuring_again_starts_from_zero():
    config = testing.feature_config()
    raw_ops.ConfigureTPUEmbedding(config=config)
    _step(config)
    raw_ops.ConfigureTPUEmbedding(config=config)
    stats = tf_embed.stats()
    assert stats.configured
    assert stats.steps_completed == 0
    assert stats.tables[0].ids_looked_up == 0


def test_negative_ids_are_pruned_when_asked_for():
    config = testing.feature_config()
    raw_ops.ConfigureTPUEmbedding(config=config)
    with pytest.raises(tf.errors.InvalidArgumentError, match="-1"):
        _enqueue(user=[-1, 2, 3, 4])
    tf_embed.set_prune_negative_ids(True)
    raw_ops.ConfigureTPUEmbedding(config=config)
    _enqueue(user=[-1, 2, -5, 4])
    _recv(config)
    stats = tf_embed.stats()
    assert stats.negative_ids_pruned == 2
    assert [table.negative_ids_pruned for table in stats.tables] == [2, 0]
    assert stats.tables[0].ids_looked_up == 2


def test_shutdown_drops_the_engine():
    config = testing.feature_config()
    assert not tf_embed.shutdown()
    raw_ops.ConfigureTPUEmbedding(config=config)
    assert tf_embed.shutdown()
    assert not tf_embed.stats().configured
    with pytest.raises(tf.errors.FailedPreconditionError, match="not configured"):
        _enqueue()


def test_shutdown_ends_a_wait_with_its_reason():
    config = testing.feature_config()
    raw_ops.ConfigureTPUEmbedding(config=config)
    raised = []

    def wait():
        try:
            _recv(config)
        except tf.errors.OpError as error:
            raised.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    waiting.join(0.5)
    assert waiting.is_alive()
    assert tf_embed.shutdown("the test is over")
    waiting.join(20)
    assert not waiting.is_alive()
    assert isinstance(raised[0], tf.errors.AbortedError)
    assert "the test is over" in raised[0].message


def test_discarded_batches_are_counted():
    assert tf_embed.discard_batches() == 0  # without an engine
    config = testing.feature_config()
    raw_ops.ConfigureTPUEmbedding(config=config)
    for _ in range(3):
        _enqueue()
    _recv(config)
    assert tf_embed.discard_batches() == 3
    assert tf_embed.stats().queue_depth == [0]


def test_recv_timeout():
    config = testing.feature_config()
    raw_ops.ConfigureTPUEmbedding(config=config)
    tf_embed.set_recv_timeout(0.05)
    assert tf_embed.recv_timeout() == pytest.approx(0.05)
    with pytest.raises(tf.errors.DeadlineExceededError, match="core"):
        _recv(config)
    # The engine still works.
    _step(config)
    assert tf_embed.stats().steps_completed == 1
    tf_embed.set_recv_timeout(None)
    assert tf_embed.recv_timeout() is None


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_recv_timeout_must_be_positive(seconds):
    with pytest.raises(ValueError, match="must be above 0, or None"):
        tf_embed.set_recv_timeout(seconds)


def test_recv_timeout_from_environment():
    result = testing.run_python("""
        import os
        os.environ["TF_EMBED_RECV_TIMEOUT_S"] = "2.5"
        import tf_embed
        print(tf_embed.recv_timeout())
    """)
    assert result.stdout.strip() == "2.5", result.stderr


def _scalars(log_dir):
    values = {}
    for path in glob.glob(os.path.join(log_dir, "**", "events*"), recursive=True):
        for event in tf.compat.v1.train.summary_iterator(path):
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name == "scalars"
                values[event.step, value.tag] = float(tf.make_ndarray(value.tensor))
    return values


def test_summary_shows_every_counter(tmp_path):
    raw_ops.ConfigureTPUEmbedding(config=testing.feature_config())
    _enqueue()
    with tf.summary.create_file_writer(str(tmp_path)).as_default():
        assert tf_embed.write_stats_summary(7)
        assert tf_embed.write_stats_summary(8, prefix="mine")
    values = _scalars(tmp_path)
    assert values[7, "tf_embed/queue_depth/core_0"] == 1
    assert values[7, "tf_embed/batches_enqueued"] == 1
    assert values[7, "tf_embed/enqueue_seconds"] > 0
    assert values[7, "tf_embed/tables/item/ids_looked_up"] == 0
    assert values[7, "tf_embed/tables/item/ids_enqueued"] == 4 + 5
    assert 0 < values[7, "tf_embed/tables/user/enqueue_seconds"] < 1
    assert values[8, "mine/steps_completed"] == 0
    shown = len([tag for step, tag in values if step == 7])
    counters = len(EngineStats.DESCRIPTOR.fields) - 3  # configured, two lists
    per_table = len(TableStats.DESCRIPTOR.fields) - 1  # name
    assert shown == counters + 2 * per_table + 1


def test_summary_needs_engine_and_writer(tmp_path):
    with tf.summary.create_file_writer(str(tmp_path)).as_default():
        assert not tf_embed.write_stats_summary(1)
    raw_ops.ConfigureTPUEmbedding(config=testing.feature_config())
    assert not tf_embed.write_stats_summary(1)


def test_callback_writes_every_so_many_batches(tmp_path):
    raw_ops.ConfigureTPUEmbedding(config=testing.feature_config())
    model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
    model.compile(loss="mse")
    model.fit(
        np.ones([7, 2]),
        np.ones([7, 1]),
        batch_size=1,
        epochs=1,
        verbose=0,
        callbacks=[tf_embed.StatsCallback(str(tmp_path), every_batches=3)],
    )
    assert {step for step, _ in _scalars(tmp_path)} == {3, 6, 7}


def test_callback_checks_its_period(tmp_path):
    with pytest.raises(ValueError, match="every_batches is 0"):
        tf_embed.StatsCallback(str(tmp_path), every_batches=0)


def test_profiler_shows_the_stages(tmp_path):
    config = testing.feature_config()
    raw_ops.ConfigureTPUEmbedding(config=config)
    tf.profiler.experimental.start(str(tmp_path))
    _step(config)
    tf.profiler.experimental.stop()
    (path,) = glob.glob(os.path.join(tmp_path, "**", "*.xplane.pb"), recursive=True)
    with open(path, "rb") as file:
        trace = file.read()
    for stage in (b"TfEmbedEnqueue", b"TfEmbedLookup", b"TfEmbedSendGradients"):
        assert stage in trace


def test_stub_of_the_messages_names_their_fields():
    stub = os.path.join(os.path.dirname(tf_embed.__file__), "engine_stats_pb2.pyi")
    with open(stub) as file:
        text = file.read()
    types = {
        FieldDescriptor.TYPE_BOOL: "bool",
        FieldDescriptor.TYPE_INT64: "int",
        FieldDescriptor.TYPE_STRING: "str",
    }
    for message in (EngineStats, TableStats):
        for field in message.DESCRIPTOR.fields:
            if field.is_repeated if hasattr(field, "is_repeated") else field.label == 3:
                assert f"def {field.name}(self) -> MutableSequence[" in text
            else:
                assert f"    {field.name}: {types[field.type]}\n" in text
