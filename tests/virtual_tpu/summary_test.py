"""Summaries that a replica writes: TensorFlow lets the host do it."""

import pathlib

import tensorflow as tf
from vtpu_testing import CORES, per_replica, replica_context, strategy


def events_of(folder: pathlib.Path) -> dict[tuple[str, int], float]:
    found = {}
    for path in folder.glob("events*"):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                key = value.tag, event.step
                assert key not in found
                found[key] = float(tf.make_ndarray(value.tensor))
    return found


def test_summary_of_one_replica_each_step(tmp_path):
    writer = tf.summary.create_file_writer(str(tmp_path))
    step_of = tf.Variable(0, dtype=tf.int64)

    @tf.function
    def step(x):
        def fn(x):
            # Each replica writes, unless it is told not to.
            replica = replica_context().replica_id_in_sync_group
            first = tf.equal(replica, 0)
            mean = replica_context().all_reduce("mean", x)
            with writer.as_default(), tf.summary.record_if(first):
                tf.summary.write("mean", mean, step=step_of)

        strategy().run(fn, (x,))

    for i in range(3):
        step_of.assign(i)
        step(per_replica(lambda r, i=i: float(r + 10 * i)))
    writer.close()
    first = sum(range(CORES)) / CORES
    assert events_of(tmp_path) == {("mean", i): first + 10 * i for i in range(3)}
