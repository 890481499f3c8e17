"""The fused lookup and update by the TPU's compiler: it takes them, at what cost."""

import numpy as np
import pytest
import tensorflow as tf

from tests.xla.update_cases import OPTIMIZERS, update_case
from tf_embed import xla
from tf_embed.serving._fused_lookup import FusedFeature, fused_lookup
from tf_embed.serving._fused_update import FusedUpdate

_BATCH, _LENGTH = 256, 20


def _stock(table, ids, weights):
    """What TPUEmbeddingV0 builds for combiner mean."""
    rows = tf.nn.embedding_lookup(table, ids)
    weights = weights[:, :, tf.newaxis]
    return tf.math.divide_no_nan(
        tf.reduce_sum(rows * weights, -2), tf.reduce_sum(weights, -2)
    )


def _ours(table, ids, weights):
    batch = ids.shape[0]
    rows, columns = np.divmod(np.arange(batch * _LENGTH), _LENGTH)
    return FusedFeature(
        "f", table, form="sparse_safe", combiner="mean", ids=tf.reshape(ids, [-1]),
        indices=tf.constant(np.stack([rows, columns], 1), tf.int64),
        dense_shape=tf.constant([batch, _LENGTH], tf.int64),
        weights=tf.reshape(weights, [-1]),
    )  # fmt: skip


_IDS = tf.TensorSpec([_BATCH, _LENGTH], tf.int32)
_WEIGHTS = tf.TensorSpec([_BATCH, _LENGTH], tf.float32)


# A small table; two that a newer TPU could copy into its vector memory, below
# and above the size from which rows are gathered in pairs; wide and narrow rows;
# a table that would take most of the time to copy.
@pytest.mark.parametrize(
    "rows, dim",
    [
        (2_000, 64),
        (20_000, 128),
        (100_000, 128),
        (100_000, 256),
        (25_000, 16),
        (500_000, 64),
    ],
)
def test_LookupCostsLessThanTheStockGraphOnEveryGeneration(tpu_compiler, rows, dim):
    table = tf.Variable(tf.zeros([rows, dim]))
    stock = xla.tpu_costs(lambda i, w: _stock(table, i, w), _IDS, _WEIGHTS)
    ours = xla.tpu_costs(
        lambda i, w: fused_lookup([_ours(table, i, w)])[0], _IDS, _WEIGHTS
    )
    for topology, cost in ours.items():
        assert cost.ok, f"{topology}: {cost.error}"
        assert cost.seconds * 1.5 < stock[topology].seconds, topology


# As many ids at each position as the program's inputs say, which the compiler
# does not know: columns that are copied, that are never copied, and all tiles of
# a column; pairs of rows. And a product with a tiny table, which takes as many.
@pytest.mark.parametrize(
    "rows, dim, regular",
    [
        (30_000, 64, False),
        (300_000, 16, False),
        (300_000, 64, False),
        (40_000, 256, False),
        (100, 16, True),
    ],
)
def test_LookupCompilesForEveryGeneration(tpu_compiler, rows, dim, regular):
    table = tf.Variable(tf.zeros([rows, dim]))

    def lookup(ids, weights, indices):
        feature = _ours(table, ids, weights)
        if not regular:
            feature.indices = indices
        return fused_lookup([feature])[0]

    indices = tf.TensorSpec([_BATCH * _LENGTH, 2], tf.int64)
    for topology, cost in xla.tpu_costs(lookup, _IDS, _WEIGHTS, indices).items():
        assert cost.ok, f"{topology}: {cost.error}"


@pytest.mark.parametrize("combiner", ["sum", "mean", "sqrtn"])
def test_GradientsCompileForEveryGeneration(tpu_compiler, combiner):
    table = tf.Variable(tf.zeros([30_000, 64]))

    def gradients(ids, weights):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            feature = _ours(table, ids, weights)
            feature.combiner = combiner
            activations = fused_lookup([feature])[0]
        slices, of_weights = tape.gradient(activations, [table, weights])
        return slices.indices, slices.values, of_weights

    costs = xla.tpu_costs(gradients, _IDS, _WEIGHTS)
    assert len(costs) == 6
    for topology, cost in costs.items():
        assert cost.ok, f"{topology}: {cost.error}"


@pytest.mark.parametrize(
    "rows, dim",
    [(500, 4), (500, 128), (4000, 128)],
    ids=["pass_over_columns", "pass_over", "unique_rows"],
)
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_UpdateCompilesForEveryGeneration(tpu_compiler, optimizer, rows, dim):
    config, variables = update_case(np.random.default_rng(0), optimizer, rows, dim)
    batch = 16

    def step(ids, weights, gradient):
        feature = _ours(variables["t"]["parameters"], ids, weights)
        FusedUpdate([feature], [config], variables)([gradient])

    costs = xla.tpu_costs(
        step,
        tf.TensorSpec([batch, _LENGTH], tf.int32),
        tf.TensorSpec([batch, _LENGTH], tf.float32),
        tf.TensorSpec([batch, dim]),
    )
    for topology, cost in costs.items():
        assert cost.ok, f"{topology}: {cost.error}"


# Neither is copied to be gathered from and copied back.
def test_NarrowTablesAreUpdatedInTheOrderInWhichTheyAreStored(tpu_compiler):
    rows = 20_000
    config, variables = update_case(np.random.default_rng(0), "adagrad", rows)

    def step(ids, weights, gradient):
        feature = _ours(variables["t"]["parameters"], ids, weights)
        FusedUpdate([feature], [config], variables)([gradient])

    cost = xla.tpu_cost(step, _IDS, _WEIGHTS, tf.TensorSpec([_BATCH, 4]))
    # The sums by rows, of which each fills 128 lanes, and by columns.
    assert cost.memory.temp < 1.5 * rows * 128 * 4
