"""The fused lookup and update in compiled functions against the CPU kernels."""

import contextlib
import dataclasses
import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.xla.feature_cases import random_features, random_tables, update_features
from tests.xla.update_cases import OPTIMIZERS, update_case
from tf_embed.serving import _own_ops
from tf_embed.serving._fused_lookup import FusedFeature, fused_lookup
from tf_embed.serving._fused_update import FusedUpdate
from tf_embed.xla._tpu_cost import lowered_for

_EPS = np.finfo(np.float32).eps


def _compiled(function):
    return tf.function(function, jit_compile=True, autograph=False)


def _tolerance(*arrays):
    # Sums of at most 64 terms, with a division and a square root after them.
    return 256 * _EPS * max([1.0, *(np.abs(a).max(initial=0.0) for a in arrays)])


# What is built for a TPU or a GPU, which asks for the same rows in other ways and
# adds them up in another order, runs on the CPU all the same.
_FOR_CPU = contextlib.nullcontext
_FOR_TPU = functools.partial(lowered_for, "tpu")
_FOR_GPU = functools.partial(lowered_for, "gpu")
_TARGETS = pytest.mark.parametrize(
    "target", [_FOR_CPU, _FOR_TPU, _FOR_GPU], ids=["cpu", "tpu", "gpu"]
)


@pytest.mark.parametrize(
    "seed, target",
    [
        *((seed, target) for seed in range(6) for target in (_FOR_CPU, _FOR_TPU)),
        # These take longer to compile.
        *((seed, _FOR_GPU) for seed in (6, 7)),
    ],
)
def test_LookupAgreesWithTheCpuKernel(seed, target):
    rng = np.random.default_rng(seed)
    features = random_features(rng, random_tables(rng))
    expected = [value.numpy() for value in fused_lookup(features)]
    with target():
        actual = _compiled(lambda: fused_lookup(features))()
    for feature, got, want in zip(features, actual, expected, strict=True):
        assert got.shape == want.shape, f"seed {seed} {feature.name}"
        np.testing.assert_allclose(
            got, want, rtol=0, atol=_tolerance(want), err_msg=f"{seed} {feature.name}"
        )


# For a TPU: columns, all tiles they lie in, and columns of a table that is never
# copied; pairs of rows, of one and of several blocks of 128 columns; single
# rows, where the number of rows does not allow pairs.
@pytest.mark.parametrize("target", [_FOR_CPU, _FOR_TPU], ids=["cpu", "tpu"])
@pytest.mark.parametrize(
    "rows, dim",
    [
        (2000, 5),
        (2000, 64),
        (2001, 192),
        (300_000, 16),
        (2000, 128),
        (1600, 256),
        (1608, 384),
        (2001, 128),
        (1604, 256),
    ],
)
def test_LookupInALargeTableAgreesWithTheCpuKernel(rows, dim, target):
    rng = np.random.default_rng(rows + dim)
    table = tf.Variable(rng.normal(size=[rows, dim]), dtype=tf.float32)
    # Some of each form: all together take seconds to compile.
    features = random_features(rng, [table])[rng.integers(3) :: 3]
    expected = [value.numpy() for value in fused_lookup(features)]
    with target():
        actual = _compiled(lambda: fused_lookup(features))()
    for feature, got, want in zip(features, actual, expected, strict=True):
        np.testing.assert_allclose(
            got, want, rtol=0, atol=_tolerance(want), err_msg=feature.name
        )


# Constants of the program, of which the compiler sees that each position has as
# many ids as the next. What is not looked up is infinite, the first row too,
# which ids that are left out are taken for.
@_TARGETS
@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize("rows, dim", [(50, 16), (50, 128), (300, 16), (2000, 64)])
def test_LookupOfRegularFeaturesAgreesWithTheCpuKernel(rows, dim, length, target):
    rng = np.random.default_rng(rows + dim + length)
    batch = 6
    ids = rng.integers(1, rows, [batch, length])
    values = np.full([rows, dim], np.inf)
    values[ids] = rng.normal(size=[batch, length, dim])
    table = tf.Variable(values, dtype=tf.float32)
    left_out = ids.copy()
    left_out[rng.random(ids.shape) < 0.3] = -1
    weights = rng.integers(-2, 5, ids.size) / 2

    def lookup():
        forms = {
            "ragged": (ids, np.arange(batch + 1) * length, None),
            "sparse_safe": (left_out, np.argwhere(ids > -1), [batch, length]),
        }
        features = [
            FusedFeature(
                f"{form} {combiner} {weighted}", table, form=form, combiner=combiner,
                ids=tf.constant(ids_of_form.ravel()), indices=tf.constant(indices),
                dense_shape=None if shape is None else tf.constant(shape, tf.int64),
                weights=tf.constant(weights, tf.float32) if weighted else None,
            )
            for form, (ids_of_form, indices, shape) in forms.items()
            for combiner in ("sum", "mean", "sqrtn")
            for weighted in (False, True)
        ]  # fmt: skip
        return {
            f.name: v for f, v in zip(features, fused_lookup(features), strict=True)
        }

    with target():
        actual = _compiled(lookup)()
    for name, want in lookup().items():
        assert np.isfinite(want).all()
        np.testing.assert_allclose(
            actual[name], want, rtol=2e-6, atol=1e-6, err_msg=name
        )


# Positions that go from block to block, that fill one, that are in none: rows
# are added up in blocks of 32 for a GPU. What is not looked up is infinite.
@pytest.mark.parametrize("combiner", ["sum", "mean", "sqrtn"])
def test_LongPositionsAgreeWithTheCpuKernelOnAGpu(combiner):
    rng = np.random.default_rng(0)
    lengths = np.array([0, 1, 30, 1, 32, 33, 0, 0, 64, 100, 2, 500, 0])
    splits = np.concatenate([[0], np.cumsum(lengths)])
    values = np.full([50, 3], np.inf)
    values[10:40] = rng.normal(size=[30, 3])
    table = tf.Variable(values, dtype=tf.float32)
    ids = rng.integers(10, 40, splits[-1])
    ids[rng.random(ids.size) < 0.1] = -1
    weights = rng.integers(1, 5, ids.size) / 2
    positions = np.repeat(np.arange(lengths.size), lengths)
    places = np.arange(ids.size) - splits[positions]
    in_any_order = rng.permutation(ids.size)

    def lookup():
        sparse = FusedFeature(
            "sparse", table, combiner=combiner, form="sparse_safe",
            ids=tf.constant(ids[in_any_order]),
            indices=tf.constant(np.stack([positions, places], 1)[in_any_order]),
            dense_shape=tf.constant([lengths.size, 500], tf.int64),
            weights=tf.constant(weights[in_any_order], tf.float32),
        )  # fmt: skip
        ragged_one = FusedFeature(
            "ragged", table, combiner=combiner, form="ragged",
            ids=tf.constant(np.maximum(ids, 10)), indices=tf.constant(splits),
            weights=tf.constant(weights, tf.float32),
        )  # fmt: skip
        return fused_lookup([sparse, ragged_one])

    with _FOR_GPU():
        actual = _compiled(lookup)()
    for got, want in zip(actual, lookup(), strict=True):
        assert np.isfinite(want).all()
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dim", [64, 128])
def test_NeighboursOfTheRowsThatAreLookedUpDoNotReachTheSums(dim):
    rng = np.random.default_rng(0)
    values = rng.normal(size=[600, dim])
    ids = np.array([[0, 7, 598], [20, -1, 33]])
    for id in ids[ids >= 0]:
        values[id ^ 1] = rng.choice([np.inf, np.nan])
    feature = FusedFeature(
        "f", tf.Variable(values, dtype=tf.float32), combiner="sum",
        form="sparse_safe", ids=tf.constant(ids.ravel()),
        indices=tf.constant(np.argwhere(ids > -2)),
        dense_shape=tf.constant(ids.shape, tf.int64),
    )  # fmt: skip
    (want,) = fused_lookup([feature])
    with _FOR_TPU():
        (got,) = _compiled(lambda: fused_lookup([feature]))()
    assert np.isfinite(want).all()
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize(
    "seed, target", [*((seed, _FOR_CPU) for seed in range(4)), (4, _FOR_GPU)]
)
def test_GradientAgreesWithTheCpuKernel(seed, target):
    rng = np.random.default_rng(seed)
    tables = random_tables(rng)
    features = random_features(rng, tables)
    factors = [
        tf.constant(rng.normal(size=value.shape), tf.float32)
        for value in fused_lookup(features)
    ]

    def gradient():
        with tf.GradientTape() as tape:
            outputs = fused_lookup(features)
            loss = tf.add_n(
                [tf.reduce_sum(f * o) for f, o in zip(factors, outputs, strict=True)]
            )
        return [tf.convert_to_tensor(g) for g in tape.gradient(loss, tables)]

    with target():
        compiled = _compiled(gradient)()
    for got, want in zip(compiled, gradient(), strict=True):
        np.testing.assert_allclose(
            got, want, rtol=0, atol=_tolerance(want), err_msg=f"seed {seed}"
        )


# As for a TPU, columns of a narrow table are passed over. A GPU adds gradients up
# in the same way for all optimizers, but for those that visit all rows.
@pytest.mark.parametrize(
    "optimizer, vocabulary, target",
    [
        *itertools.product(sorted(OPTIMIZERS), [30, 5000], [_FOR_CPU]),
        *itertools.product(sorted(OPTIMIZERS), [5000], [_FOR_TPU]),
        *itertools.product(["adagrad", "adam_eager_sum"], [30, 5000], [_FOR_GPU]),
    ],
)
def test_UpdateAgreesWithTheCpuKernel(optimizer, vocabulary, target):
    rng = np.random.default_rng(1)
    config, variables = update_case(rng, optimizer, vocabulary)
    table = variables["t"]["parameters"]
    start = {name: value.numpy() for name, value in variables["t"].items()}
    features = update_features(rng, table)
    gradients = [
        tf.constant(rng.normal(size=value.shape), tf.float32)
        for value in fused_lookup(features)
    ]

    def two_steps():
        for _ in range(2):
            FusedUpdate(features, [config], variables)(gradients)

    two_steps()
    expected = {name: value.numpy() for name, value in variables["t"].items()}
    for name, value in start.items():
        variables["t"][name].assign(value)
    with target():
        _compiled(two_steps)()
    for name, want in expected.items():
        got = variables["t"][name].numpy()
        np.testing.assert_allclose(
            got, want, rtol=1e-4, atol=_tolerance(want), err_msg=name
        )
        if optimizer != "adam_eager_sum":
            # Bit for bit what they were.
            same = (want == start[name]).all(axis=1)
            assert same.sum() >= vocabulary - 13
            np.testing.assert_array_equal(got[same], start[name][same])


# Of 3 rows a TPU makes a matrix product.
@_TARGETS
@pytest.mark.parametrize("rows", [3, 300])
def test_IdsOutsideTheTableAreLeftOut(rows, target):
    last = rows - 1
    table = tf.Variable([[1.0], *[[np.inf]] * (rows - 2), [4.0]])
    features = [
        FusedFeature("pooled", table, combiner="mean", **{
            "form": "sparse_safe",
            "ids": tf.constant([0, rows, -7, last]),
            "indices": tf.constant([[0, 0], [0, 1], [1, 0], [1, 1]], tf.int64),
            "dense_shape": tf.constant([3, 2], tf.int64),
        }),
        FusedFeature("dense", table, form="dense", combiner="sum",
                     ids=tf.constant([rows, last, -1])),
    ]  # fmt: skip
    with target():
        pooled, dense = _compiled(lambda: fused_lookup(features))()
    np.testing.assert_array_equal(pooled, [[1.0], [4.0], [0.0]])
    np.testing.assert_array_equal(dense, [[0.0], [4.0], [0.0]])


def test_FormWithADynamicShapeIsRefusedByName():
    table = tf.Variable(tf.ones([3, 2]))
    feature = FusedFeature(
        "words", table, form="sparse", combiner="sum", ids=tf.constant([0, 1]),
        indices=tf.constant([[0, 0], [1, 0]], tf.int64),
        dense_shape=tf.constant([2, 1], tf.int64),
    )  # fmt: skip
    with pytest.raises(tf.errors.UnimplementedError, match="feature 'words' has as"):
        _compiled(lambda: fused_lookup([feature]))()


def _one_feature(table, **arguments):
    defaults = dict(
        name="f", form="ragged", combiner="sum", ids=tf.constant([1, 2, 3]),
        indices=tf.constant([0, 1, 3]),
    )  # fmt: skip
    return FusedFeature(table=table, **(defaults | arguments))


@pytest.mark.parametrize(
    "seed, target", [*((seed, _FOR_CPU) for seed in range(3)), (3, _FOR_GPU)]
)
def test_WeightsGetTheGradientsOfTheCpuKernel(seed, target):
    rng = np.random.default_rng(seed)
    features = [
        feature
        for feature in random_features(rng, random_tables(rng))
        if feature.weights is not None and feature.form in ("ragged", "sparse_safe")
    ]
    assert {feature.combiner for feature in features} == {"sum", "mean", "sqrtn"}
    weights = [feature.weights for feature in features]

    def gradient():
        with tf.GradientTape() as tape:
            tape.watch(weights)
            outputs = fused_lookup(features)
            loss = tf.add_n([tf.reduce_sum(output**2) for output in outputs])
        return tape.gradient(loss, weights)

    with target():
        compiled = _compiled(gradient)()
    for feature, got, want in zip(features, compiled, gradient(), strict=True):
        np.testing.assert_allclose(
            got, want, rtol=1e-4, atol=_tolerance(want), err_msg=feature.name
        )


def test_RowsOfIdsThatAreLeftOutGetNoGradient():
    table = tf.Variable(tf.ones([9, 2]))

    def rows(ids):
        feature = _one_feature(
            table, form="sparse_safe", ids=ids, indices=tf.constant(
                [[0, 0], [0, 1], [1, 0]], tf.int64),
            dense_shape=tf.constant([2, 2], tf.int64),
        )  # fmt: skip
        cut = _one_feature(
            table, form="ragged_sequence", ids=tf.constant([8, 7]), sequence_length=1,
            indices=tf.constant([0, 2]),
        )  # fmt: skip
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(fused_lookup([feature])[0])
            loss += tf.reduce_sum(fused_lookup([cut])[0])
        return tape.gradient(loss, table).indices

    assert set(_compiled(rows)(tf.constant([3, -1, 5])).numpy()) == {3, 5, 8}
    # Nothing is left in whose place they could be.
    assert set(_compiled(rows)(tf.constant([-1, -1, -1])).numpy()) == {-1, 8}


# By TensorFlow's own ops, which must leave out the rows that are -1.
def test_GradientOfNothingMovesNothing():
    table = tf.Variable(tf.ones([4, 2]))
    feature = _one_feature(
        table, form="sparse_safe", ids=tf.constant([-1, 7]),
        indices=tf.constant([[0, 0], [1, 1]], tf.int64),
        dense_shape=tf.constant([2, 2], tf.int64),
    )  # fmt: skip

    @_compiled
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(fused_lookup([feature])[0])
        gradient = tape.gradient(loss, table)
        ones = tf.IndexedSlices(tf.ones_like(gradient.values), gradient.indices)
        table.scatter_sub(ones)
        return tf.math.unsorted_segment_sum(ones.values, ones.indices, 4)

    np.testing.assert_array_equal(step(), np.zeros([4, 2]))
    np.testing.assert_array_equal(table, np.ones([4, 2]))


@pytest.mark.parametrize("optimizer", ["sgd", "adam_eager_sum"])
@pytest.mark.parametrize("form", ["dense", "ragged"])
def test_AnEmptyFeatureHasAGradientAndAnUpdate(form, optimizer):
    config, variables = update_case(np.random.default_rng(0), optimizer, 30)
    table = variables["t"]["parameters"]
    start = table.numpy()
    feature = _one_feature(
        table, form=form, ids=tf.zeros([0], tf.int32),
        indices=None if form == "dense" else tf.zeros([1], tf.int32),
    )  # fmt: skip

    def step():
        with tf.GradientTape() as tape:
            (activations,) = fused_lookup([feature])
            loss = tf.reduce_sum(activations**2)
        FusedUpdate([feature], [config], variables)([activations])
        return tape.gradient(loss, table).indices

    assert _compiled(step)().shape == [0]
    moved = table.numpy()
    if optimizer == "sgd":
        np.testing.assert_array_equal(moved, start)
    else:
        assert (moved != start).any()  # what it remembers goes on moving rows


def test_WideCoordinatesAreNotCutToNarrowOnes():
    table = tf.Variable([[1.0], [2.0], [4.0]])
    wide = 2**32
    sparse = _one_feature(
        table, form="sparse_safe", ids=tf.constant([0, 1, 2], tf.int64),
        indices=tf.constant([[0, 0], [wide + 1, 0], [1 - wide, 0]], tf.int64),
        dense_shape=tf.constant([2, 2], tf.int64),
    )  # fmt: skip

    @_compiled
    def lookup(splits):
        ragged = _one_feature(table, ids=tf.constant([0, 1, 2]), indices=splits)
        return fused_lookup([sparse, ragged])

    pooled, rows = lookup(tf.constant([0, 1, wide + 1], tf.int64))
    np.testing.assert_array_equal(pooled, [[1.0], [0.0]])
    # Not [0, 1, 1].
    np.testing.assert_array_equal(rows, [[1.0], [6.0]])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(weights=tf.ones([2])), "there are 2 weights for 3 ids"),
        (dict(weights=tf.ones([])), "there are 1 weights for 3 ids"),
        (dict(ids=tf.constant([[1, 2, 3]])), "ids of feature 'f' must be a vector"),
        (dict(indices=tf.constant([1, 2, 3])), "row splits must begin with 0, not 1"),
        (dict(indices=tf.constant([0, 1, 2])), "row splits end at 2, but there are 3"),
        (
            dict(indices=tf.constant([0, 3, 2, 3])),
            r"row_splits\[2\] = 2 is less than 3",
        ),
        (
            dict(weights=tf.ones([3]), weight_splits=tf.constant([0, 2, 3])),
            "the row splits of the weights are not those of the ids",
        ),
    ],
)
def test_WhatShapesAndConstantsShowToBeWrongIsRefusedAsByTheCpuKernel(
    arguments, message
):
    feature = _one_feature(tf.Variable(tf.ones([4, 2])), **arguments)
    # Constants of the program, which tensors from outside of it are not.
    for name in ("indices", "weight_splits"):
        value = getattr(feature, name)
        if value is not None:
            setattr(feature, name, value.numpy())

    def lookup():
        copy = dataclasses.replace(feature)
        for name in ("indices", "weight_splits"):
            if getattr(copy, name) is not None:
                setattr(copy, name, tf.constant(getattr(copy, name)))
        return fused_lookup([copy])

    for call in (lookup, _compiled(lookup)):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            call()


@pytest.mark.parametrize("value", [tf.ones([]), tf.ones([4, 3])])
def test_ATableOfAnotherShapeThanTheOpWasBuiltForIsRefused(value):
    table = tf.Variable(tf.ones([4, 2]), shape=tf.TensorShape(None))
    table.assign(value)

    def lookup():
        return _own_ops.fused_embedding_lookup(
            tables=[table.handle], num_features=1, table_formats=[],
            ids=[tf.constant([1, 2])], indices=[], dense_shapes=[], weights=[],
            weight_splits=[], table_shapes=[[4, 2]], feature_tables=[0],
            feature_names=["f"], forms=["dense"], combiners=["sum"],
            sequence_lengths=[0], weighted=[False], weights_have_splits=[False],
        )  # fmt: skip

    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"table 0 has shape .*\[rows, 2\]"
    ):
        _compiled(lookup)()
