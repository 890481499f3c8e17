"""The fused lookup and update in compiled functions against the CPU kernels."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf

from tf_embed import xla
from tf_embed.serving._fused_lookup import FusedFeature, fused_lookup
from tf_embed.serving._fused_update import fused_update
from tf_embed.xla._tpu_cost import lowered_for_tpu

_EPS = np.finfo(np.float32).eps
_OPTIMIZERS = {
    "sgd": lambda: tf.tpu.experimental.embedding.SGD(0.1),
    "sgd_decayed_clipped": lambda: tf.tpu.experimental.embedding.SGD(
        0.1,
        clipvalue=0.5,
        weight_decay_factor=0.01,
        clip_weight_min=-0.2,
        clip_weight_max=0.3,
    ),
    "adagrad": lambda: tf.tpu.experimental.embedding.Adagrad(0.1),
    "adagrad_momentum": lambda: tf.tpu.experimental.embedding.AdagradMomentum(
        0.1, momentum=0.9, use_nesterov=True, beta2=0.9, epsilon=1e-5
    ),
    "ftrl": lambda: tf.tpu.experimental.embedding.FTRL(
        0.1, l1_regularization_strength=0.01, l2_regularization_strength=0.1, beta=0.2
    ),
    "ftrl_multiplied": lambda: tf.tpu.experimental.embedding.FTRL(
        0.1, l1_regularization_strength=0.01, multiply_linear_by_learning_rate=True
    ),
    "adam": lambda: tf.tpu.experimental.embedding.Adam(0.1),
    "adam_eager_sum": lambda: tf.tpu.experimental.embedding.Adam(
        0.1, lazy_adam=False, sum_inside_sqrt=False
    ),
}


def _ids(rng, size, vocabulary):
    return tf.constant(rng.integers(0, vocabulary, size), tf.int64)


def _padded(rng, batch, length, vocabulary):
    """[B, L] ids of which some are -1, as a sparse feature of static shape."""
    ids = rng.integers(0, vocabulary, batch * length)
    ids[rng.random(ids.size) < 0.3] = -1
    rows, columns = np.divmod(np.arange(ids.size), length)
    return dict(
        form="sparse_safe",
        ids=tf.constant(ids, tf.int64),
        indices=tf.constant(np.stack([rows, columns], 1), tf.int64),
        dense_shape=tf.constant([batch, length], tf.int64),
    )


def _ragged(rng, form, batch, vocabulary):
    lengths = rng.integers(0, 5, batch)
    splits = np.concatenate([[0], np.cumsum(lengths)])
    return dict(
        form=form,
        ids=_ids(rng, splits[-1], vocabulary),
        indices=tf.constant(splits, tf.int32),
        sequence_length=3 if form == "ragged_sequence" else 0,
    )


def _sequence(rng, batch, vocabulary):
    coordinates = np.argwhere(rng.random([batch, 5]) < 0.5)
    return dict(
        form="sparse_sequence",
        ids=_ids(rng, len(coordinates), vocabulary),
        indices=tf.constant(coordinates, tf.int64),
        dense_shape=tf.constant([batch, 5], tf.int64),
        sequence_length=3,
    )


def _random_features(rng, tables):
    """A feature of each form for each combiner, with and without weights."""
    features = []
    for combiner in ("sum", "mean", "sqrtn"):
        for weighted in (False, True):
            for form in ("padded", "ragged", "ragged_sequence", "sequence", "dense"):
                table = tables[rng.integers(len(tables))]
                vocabulary = table.shape[0]
                batch = int(rng.integers(1, 7))
                if form == "padded":
                    arguments = _padded(rng, batch, 4, vocabulary)
                elif form == "sequence":
                    arguments = _sequence(rng, batch, vocabulary)
                elif form == "dense":
                    arguments = dict(
                        form="dense", ids=_ids(rng, [batch, 2], vocabulary)
                    )
                else:
                    arguments = _ragged(rng, form, batch, vocabulary)
                if weighted and form != "dense":
                    size = arguments["ids"].shape[0]
                    # Some are 0 or cancel out.
                    weights = rng.integers(-2, 5, size) / 2
                    arguments["weights"] = tf.constant(weights, tf.float32)
                features.append(
                    FusedFeature(
                        name=f"{form}_{len(features)}",
                        table=table,
                        combiner=combiner,
                        **arguments,
                    )
                )
    return features


def _tables(rng, count=2):
    return [
        tf.Variable(
            rng.normal(size=[int(rng.integers(5, 40)), int(rng.integers(1, 9))]),
            dtype=tf.float32,
        )
        for _ in range(count)
    ]


def _compiled(function):
    return tf.function(function, jit_compile=True, autograph=False)


def _tolerance(*arrays):
    # Sums of at most 64 terms, with a division and a square root after them.
    return 256 * _EPS * max([1.0, *(np.abs(a).max(initial=0.0) for a in arrays)])


# What is built for a TPU, which asks for the same rows in other ways, runs on
# the CPU all the same.
_TARGETS = pytest.mark.parametrize(
    "target", [contextlib.nullcontext, lowered_for_tpu], ids=["cpu", "tpu"]
)


@_TARGETS
@pytest.mark.parametrize("seed", range(6))
def test_LookupAgreesWithTheCpuKernel(seed, target):
    rng = np.random.default_rng(seed)
    features = _random_features(rng, _tables(rng))
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
@_TARGETS
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
    features = _random_features(rng, [table])
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
    with lowered_for_tpu():
        (got,) = _compiled(lambda: fused_lookup([feature]))()
    assert np.isfinite(want).all()
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_GradientAgreesWithTheCpuKernel(seed):
    rng = np.random.default_rng(seed)
    tables = _tables(rng)
    features = _random_features(rng, tables)
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

    for got, want in zip(_compiled(gradient)(), gradient(), strict=True):
        np.testing.assert_allclose(
            got, want, rtol=0, atol=_tolerance(want), err_msg=f"seed {seed}"
        )


def _update_case(rng, optimizer, vocabulary, dim=4):
    config = tf.tpu.experimental.embedding.TableConfig(
        vocabulary, dim, optimizer=_OPTIMIZERS[optimizer](), name="t"
    )
    variables = {"t": {"parameters": tf.Variable(
        rng.normal(0, 0.3, [vocabulary, dim]), dtype=tf.float32)}}  # fmt: skip
    for name in config.optimizer._slot_names():
        variables["t"][name] = tf.Variable(
            rng.uniform(0.2, 1.0, [vocabulary, dim]), dtype=tf.float32
        )
    return config, variables


# As for a TPU, columns of a narrow table are passed over.
@pytest.mark.parametrize(
    "vocabulary, target",
    [
        (30, contextlib.nullcontext),
        (5000, contextlib.nullcontext),
        (5000, lowered_for_tpu),
    ],
    ids=["pass_over", "unique_rows", "pass_over_columns"],
)
@pytest.mark.parametrize("optimizer", sorted(_OPTIMIZERS))
def test_UpdateAgreesWithTheCpuKernel(optimizer, vocabulary, target):
    rng = np.random.default_rng(1)
    config, variables = _update_case(rng, optimizer, vocabulary)
    table = variables["t"]["parameters"]
    start = {name: value.numpy() for name, value in variables["t"].items()}
    # Ids are from a few rows, so that they repeat; and no id at all.
    features = [
        FusedFeature("a", table, combiner="mean", **_padded(rng, 6, 5, 12)),
        FusedFeature("b", table, combiner="sum", **_ragged(rng, "ragged", 5, 12)),
        FusedFeature("c", table, form="dense", combiner="sum",
                     ids=tf.constant([vocabulary - 1, 3, 3])),
    ]  # fmt: skip
    gradients = [
        tf.constant(rng.normal(size=value.shape), tf.float32)
        for value in fused_lookup(features)
    ]

    def two_steps():
        for _ in range(2):
            fused_update(features, gradients, [config], variables)

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


@pytest.mark.parametrize(
    "rows, dim",
    [(500, 4), (500, 128), (4000, 128)],
    ids=["pass_over_columns", "pass_over", "unique_rows"],
)
@pytest.mark.parametrize("optimizer", sorted(_OPTIMIZERS))
def test_UpdateCompilesForEveryGeneration(tpu_compiler, optimizer, rows, dim):
    config, variables = _update_case(np.random.default_rng(0), optimizer, rows, dim)
    batch = 16

    def step(ids, weights, gradient):
        feature = _ours(variables["t"]["parameters"], ids, weights)
        fused_update([feature], [gradient], [config], variables)

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
    config, variables = _update_case(np.random.default_rng(0), "adagrad", rows)

    def step(ids, weights, gradient):
        feature = _ours(variables["t"]["parameters"], ids, weights)
        fused_update([feature], [gradient], [config], variables)

    cost = xla.tpu_cost(step, _IDS, _WEIGHTS, tf.TensorSpec([_BATCH, 4]))
    # The sums by rows, of which each fills 128 lanes, and by columns.
    assert cost.memory.temp < 1.5 * rows * 128 * 4
