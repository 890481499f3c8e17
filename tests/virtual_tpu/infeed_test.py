"""Infeed and outfeed."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.tpu.ops import tpu_ops
from vtpu_testing import CORES, resolver

resolver()


def feeding(shards, computation):
    """Runs `computation` on every core while the host feeds it."""
    with tf.Graph().as_default():
        feeds = [
            tpu_ops.infeed_enqueue_tuple(
                [tf.constant(x) for x in shard],
                shapes=[np.shape(x) for x in shard],
                device_ordinal=core,
            )
            for core, shard in enumerate(shards)
        ]
        out = tf.compat.v1.tpu.replicate(computation, [[] for _ in shards])
        with tf.compat.v1.Session() as session:
            return session.run([out, feeds])[0]


def test_each_core_gets_what_is_fed_to_it():
    shards = [(np.float32([r, r + 1]), np.int32(r)) for r in range(CORES)]

    def computation():
        x, y = tpu_ops.infeed_dequeue_tuple([tf.float32, tf.int32], [[2], []])
        return tf.reduce_sum(x) * 10.0, y

    for r, (total, y) in enumerate(feeding(shards, computation)):
        assert (total, y) == (10.0 * (2 * r + 1), r)


def test_outfeed_in_order():
    def computation():
        ops = tpu_ops.outfeed_enqueue_tuple([tf.constant(1.0)])
        with tf.control_dependencies([ops]):
            return tpu_ops.outfeed_enqueue_tuple([tf.constant(2.0)])

    with tf.Graph().as_default():
        run = tf.compat.v1.tpu.replicate(computation, [[] for _ in range(CORES)])
        first = [
            tpu_ops.outfeed_dequeue_tuple([tf.float32], [[]], device_ordinal=r)
            for r in range(CORES)
        ]
        with tf.compat.v1.Session() as session:
            session.run(run)
            assert np.ravel(session.run(first)).tolist() == [1.0] * CORES
            assert np.ravel(session.run(first)).tolist() == [2.0] * CORES


def test_prelinearized_tuple():
    with tf.Graph().as_default():
        buffer = tf.raw_ops.PrelinearizeTuple(
            inputs=[tf.constant(3.0), tf.constant([1, 2])], shapes=[[], [2]]
        )
        feed = tf.raw_ops.InfeedEnqueuePrelinearizedBuffer(
            input=buffer, device_ordinal=0
        )
        out = tf.compat.v1.tpu.rewrite(
            lambda: tpu_ops.infeed_dequeue_tuple([tf.float32, tf.int32], [[], [2]]), []
        )
        with tf.compat.v1.Session() as session:
            (x, y), _ = session.run([out, feed])
    assert x == 3.0
    assert y.tolist() == [1, 2]


@pytest.mark.parametrize("ordinal", [-1, CORES, 1000])
def test_core_that_is_not_there_is_refused(ordinal):
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=f"device_ordinal {ordinal}, must be from 0 to {CORES - 1}",
    ):
        tf.raw_ops.InfeedEnqueueTuple(inputs=[1.0], shapes=[[]], device_ordinal=ordinal)


def test_wrong_type_is_refused_by_name():
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="takes int32 as tensor 0, but float"
    ):
        feeding(
            [(np.float32(1.0),)],
            lambda: tpu_ops.infeed_dequeue(tf.int32, []),
        )
