"""TensorFlow's sparse updates, as fast as its ops allow."""

import tensorflow as tf

from benchmarks import workloads

_RATE = workloads.LEARNING_RATE


def make(optimizer, tables):
    """A function that applies IndexedSlices, each row once, to the tables.

    None where TensorFlow has no op for it.
    """
    if optimizer not in ("sgd", "adagrad", "ftrl"):
        return None
    slots = []
    for table in tables:
        accumulator = tf.fill(table.shape, workloads.INITIAL_ACCUMULATOR)
        if optimizer != "sgd":
            slots.append([tf.Variable(accumulator)])
        if optimizer == "ftrl":
            slots[-1].append(tf.Variable(tf.zeros(table.shape)))

    def sgd(t, gradient):
        tf.raw_ops.ResourceScatterAdd(
            resource=tables[t].handle,
            indices=gradient.indices,
            updates=gradient.values * -_RATE,
        )

    def adagrad(t, gradient):
        tf.raw_ops.ResourceSparseApplyAdagradV2(
            var=tables[t].handle,
            accum=slots[t][0].handle,
            lr=_RATE,
            epsilon=0.0,
            grad=gradient.values,
            indices=gradient.indices,
        )

    def ftrl(t, gradient):
        tf.raw_ops.ResourceSparseApplyFtrlV2(
            var=tables[t].handle,
            accum=slots[t][0].handle,
            linear=slots[t][1].handle,
            grad=gradient.values,
            indices=gradient.indices,
            lr=_RATE,
            l1=workloads.FTRL["l1"],
            l2=workloads.FTRL["l2"],
            l2_shrinkage=0.0,
            lr_power=-0.5,
        )

    apply_one = {"sgd": sgd, "adagrad": adagrad, "ftrl": ftrl}[optimizer]

    def apply(gradients):
        for t, gradient in enumerate(gradients):
            apply_one(t, gradient)

    return apply


def rows_once(gradient):
    """Sums the gradients of a row that is there several times."""
    rows, index = tf.unique(gradient.indices)
    summed = tf.math.unsorted_segment_sum(gradient.values, index, tf.size(rows))
    return tf.IndexedSlices(summed, rows)
