"""Repeated eager calls of one object: what it remembers must not show."""

import collections
import concurrent.futures
import itertools

import numpy as np
import pytest
import tensorflow as tf

import tf_embed
from tf_embed.serving import _call_plans

embedding = tf.tpu.experimental.embedding
STOCK = embedding.TPUEmbeddingForServing

ROWS = 8
_VIDEO = embedding.TableConfig(ROWS, 3, combiner="mean", name="video")
_USER = embedding.TableConfig(ROWS, 2, combiner="sum", name="user")
_FEATURES = {
    "seen": embedding.FeatureConfig(_VIDEO, name="seen"),
    "liked": embedding.FeatureConfig(_VIDEO, name="liked"),
    "who": embedding.FeatureConfig(_USER, name="who"),
    "strict": embedding.FeatureConfig(
        _USER, validate_weights_and_indices=False, name="strict"
    ),
    "queue": embedding.FeatureConfig(_USER, max_sequence_length=2, name="queue"),
    "shaped": embedding.FeatureConfig(_USER, output_shape=[2, 2], name="shaped"),
}


def _dense(ids, dtype=tf.int64):
    return tf.constant(ids, dtype)


def _ragged(rows, dtype=tf.int64, splits=tf.int64):
    return tf.ragged.constant(rows, dtype, row_splits_dtype=splits)


def _sparse(rows, dtype=tf.int64):
    return _ragged(rows, dtype).to_sparse()


def _uniform(rows):
    return tf.RaggedTensor.from_uniform_row_length(tf.range(2 * len(rows)), 2)


def _cube(rows, dtype=tf.int64):
    """Sparse of rank 3."""
    return tf.sparse.expand_dims(_sparse(rows, dtype), 1)


def _layer(cls=tf_embed.TPUEmbeddingForServing, features=_FEATURES):
    layer = cls(features, None)
    for table in layer.embedding_tables.values():
        size = table.shape.num_elements()
        table.assign(np.arange(size).reshape(table.shape) / 8 + 1)
    return layer


def _stock(features, weights):
    """What TensorFlow's class says; before 2.21 it takes no subset of its features."""
    used = {name: _FEATURES[name] for name in features}
    return _layer(STOCK, used)(features, weights)


def _assert_same(actual, expected):
    tf.nest.assert_same_structure(actual, expected)
    tf.nest.map_structure(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), actual, expected
    )


@pytest.fixture
def only_plans(monkeypatch):
    """A function after which a call without a plan is an error."""

    def refuse(*args, **kwargs):
        raise AssertionError("a call without a plan")

    return lambda: monkeypatch.setattr(_call_plans, "serving_embedding_lookup", refuse)


# The second ends without an id, which "strict" leaves out.
_ONE, _OTHER = [[1, 2], [], [7]], [[3], [0, 6, 5], [4, 4], []]


def _halves(ids):
    return ids.with_values(tf.range(1.0, 1.0 + len(ids.values)) / 2)


def _halves_of_sparse(ids):
    values = tf.range(1.0, 1.0 + len(ids.values)) / 2
    return tf.SparseTensor(ids.indices, values, ids.dense_shape)


def _other_splits(ids):
    """Weights with row splits of their own."""
    return tf.RaggedTensor.from_row_splits(
        _halves(ids).values, tf.identity(ids.row_splits)
    )


def _each(weigh):
    return lambda features: tf.nest.map_structure(weigh, features)


_KINDS = {
    "dense": (lambda rows: {"seen": _dense([row[:1] or [0] for row in rows])}, None),
    "int32": (lambda rows: {"seen": _ragged(rows, tf.int32, tf.int32)}, None),
    "ragged": (lambda rows: {"seen": _ragged(rows), "who": _ragged(rows)}, None),
    "sparse": (lambda rows: {"seen": _sparse(rows), "who": _sparse(rows)}, None),
    "cube": (lambda rows: {"strict": _cube(rows)}, None),
    "strict": (lambda rows: {"strict": _sparse(rows)}, None),
    "queue": (lambda rows: {"queue": _ragged(rows), "liked": _sparse(rows)}, None),
    "sparse queue": (lambda rows: {"queue": _sparse(rows)}, None),
    "weights": (lambda rows: {"seen": _ragged(rows)}, _each(_halves)),
    "sparse weights": (lambda rows: {"seen": _sparse(rows)}, _each(_halves_of_sparse)),
    "strict weights": (
        lambda rows: {"strict": _sparse(rows)},
        _each(_halves_of_sparse),
    ),
    "other splits": (lambda rows: {"seen": _ragged(rows)}, _each(_other_splits)),
    "seen weighted": (
        lambda rows: {"seen": _ragged(rows), "who": _ragged(rows)},
        lambda features: {"seen": _halves(features["seen"]), "who": None},
    ),
    "who weighted": (
        lambda rows: {"seen": _ragged(rows), "who": _ragged(rows)},
        lambda features: {"seen": None, "who": _halves(features["who"])},
    ),
    "all": (
        lambda rows: {
            "who": _sparse(rows, tf.int32),
            "seen": _ragged(rows),
            "liked": _dense([5, len(rows[0])]),
            "queue": _ragged(rows),
        },
        None,
    ),
}
_UNPLANNED = {
    "uniform weights": (lambda rows: {"seen": _uniform(rows)}, _each(_halves)),
    "shaped": (lambda rows: {"shaped": _ragged([*rows[:3], [1]])}, None),
    "ordered": (lambda rows: collections.OrderedDict(seen=_ragged(rows)), None),
}


def _arguments(kind, rows):
    make, weigh = (_KINDS | _UNPLANNED)[kind]
    features = make(rows)
    return features, None if weigh is None else weigh(features)


@pytest.mark.parametrize("kind", _KINDS)
def test_a_repeated_call_follows_a_plan(kind, only_plans):
    layer = _layer()
    layer(*_arguments(kind, _ONE))
    only_plans()
    for rows in (_OTHER, _ONE, _OTHER[:1]):
        arguments = _arguments(kind, rows)
        _assert_same(layer(*arguments), _stock(*arguments))


@pytest.mark.parametrize("kind", _UNPLANNED)
def test_what_has_no_plan_is_looked_up_all_the_same(kind):
    layer = _layer()
    for rows in (_ONE, _OTHER):
        arguments = _arguments(kind, rows)
        _assert_same(layer(*arguments), _stock(*arguments))


def test_kinds_of_calls_are_kept_apart():
    layer = _layer()
    expected = {}
    kinds = [*_KINDS, *_UNPLANNED]
    for first, second in itertools.permutations(kinds, 2):
        for kind in (first, second):
            arguments = _arguments(kind, _OTHER)
            if kind not in expected:
                expected[kind] = _stock(*arguments)
            _assert_same(layer(*arguments), expected[kind])


_STRUCTURES = {
    "leaf": lambda leaf: leaf,
    "list": lambda leaf: [leaf, leaf],
    "tuple": lambda leaf: (leaf, leaf),
    "dict": lambda leaf: {"b": leaf, "a": leaf},
    "nested": lambda leaf: {"b": [leaf, (leaf,)], "a": {"c": leaf, 1: leaf}["c"]},
    "deep": lambda leaf: [{"b": leaf}, {"a": (leaf, leaf)}, [[leaf]]],
}


@pytest.mark.parametrize("structure", _STRUCTURES)
def test_results_have_the_structure_of_the_features(structure, only_plans):
    make = _STRUCTURES[structure]
    config = make(None)
    config = tf.nest.map_structure(lambda _: embedding.FeatureConfig(_VIDEO), config)
    layer = _layer(features=config)
    ids = itertools.count()
    features = tf.nest.map_structure(lambda _: _dense([next(ids)]), make(0))
    first = layer(features)
    only_plans()
    second = layer(features)
    table = next(iter(layer.embedding_tables.values()))
    wanted = tf.nest.map_structure(lambda x: tf.gather(table, x), features)
    for found in (first, second):
        _assert_same(found, wanted)
        assert type(found) is type(wanted)
        if isinstance(found, dict):
            assert list(found) == list(wanted)


def test_structures_with_the_same_leaves_are_kept_apart():
    config = {
        "a": [embedding.FeatureConfig(_VIDEO)],
        "b": embedding.FeatureConfig(_USER),
    }
    layer = _layer(features=config)
    ids = _dense([1])
    assert layer({"a": [ids]})["a"][0].shape == [1, 3]
    assert layer({"b": ids})["b"].shape == [1, 2]
    layer({"a": [ids], "b": ids})
    for wrong in ({"a": ids}, {"b": [ids]}, [ids], {"a": ids, "b": [ids]}):
        with pytest.raises(ValueError, match="not a subset of feature_config"):
            layer(wrong)
    assert layer({"a": [ids]})["a"][0].shape == [1, 3]


def _with(ids, **changes):
    parts = {"values": ids.values, "row_splits": ids.row_splits} | changes
    return tf.RaggedTensor.from_row_splits(**parts, validate=False)


def _ragged_pairs(ids):
    return _with(ids, values=tf.stack([ids.values, ids.values], 1))


_IDS = _ragged(_ONE)
_REFUSED = [
    # Of the signature of a planned call.
    ((_ragged([[1], [ROWS]]), None), "not in .0, 8.*'seen'"),
    ((_with(_IDS, row_splits=np.int64([0, 2, 1, 3])), None), "Invalid row split"),
    ((_IDS, _with(_IDS, values=tf.ones([2]))), "2 weights for 3 ids.*'seen'"),
    ((_IDS, _with(_halves(_IDS), row_splits=np.int64([0, 1, 2, 3]))), "row splits"),
    ((_ragged_pairs(_IDS), None), "Only rank 2 ragged tensor"),
    ((_sparse(_ONE), _halves_of_sparse(_sparse([[1, 2], [], []]))), "."),
    # Of others.
    ((_IDS, _halves_of_sparse(_sparse(_ONE))), "does not match type of the input"),
    ((_dense([1]), tf.ones([1])), "Weight specified for seen, but input is dense"),
    ((_ragged([[[1]]]), None), "Only rank 2 ragged tensor"),
    ((None, None), "Tensor, SparseTensor or RaggedTensor expected"),
    ((np.int64([1]), None), "Tensor, SparseTensor or RaggedTensor expected"),
    ((tf.cast(_IDS, tf.float32), None), "float"),
    ((_dense(["a"], tf.string), None), "string"),
]


@pytest.mark.parametrize(("arguments", "message"), _REFUSED)
def test_a_bad_call_after_good_ones_is_refused_as_a_first_one_is(arguments, message):
    features, weights = ({"seen": part} for part in arguments)
    if arguments[1] is None:
        weights = None
    layer = _layer()
    for kind in _KINDS:
        layer(*_arguments(kind, _ONE))
    errors = []
    for called in (_layer(), layer):
        with pytest.raises(Exception, match=message) as error:
            called(features, weights)
        errors.append(error.value)
    assert type(errors[0]) is type(errors[1])
    assert str(errors[0]) == str(errors[1])
    good = _arguments("ragged", _OTHER)
    _assert_same(layer(*good), _layer()(*good))


def test_gradients_of_a_repeated_call(only_plans):
    layer = _layer()
    features = {"seen": _IDS, "who": _IDS}
    tables = list(layer.embedding_tables.values())

    def gradients():
        weights = _halves(_IDS)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(weights.values)
            outputs = layer(features, {"seen": weights, "who": weights})
            loss = sum(tf.reduce_sum(x**2) for x in outputs.values())
        assert {id(x) for x in tape.watched_variables()} >= {id(x) for x in tables}
        return [
            tf.convert_to_tensor(gradient)
            for gradient in tape.gradient(loss, [*tables, weights.values])
        ]

    first = gradients()
    only_plans()
    _assert_same(gradients(), first)
    assert all(tf.reduce_sum(tf.abs(gradient)) > 0 for gradient in first)


def test_a_repeated_call_is_not_recorded_where_recording_is_stopped(only_plans):
    layer = _layer()
    features, _ = _arguments("ragged", _ONE)
    layer(features)
    only_plans()
    with tf.GradientTape() as tape, tape.stop_recording():
        layer(features)
    assert tape.watched_variables() == ()


def test_functions_are_traced_without_plans():
    layer = _layer()
    traced = tf.function(layer)
    for kind in _KINDS:
        arguments = _arguments(kind, _ONE)
        layer(*arguments)
        for rows in (_ONE, _OTHER):
            arguments = _arguments(kind, rows)
            _assert_same(traced(*arguments), _stock(*arguments))


def test_a_table_may_change_between_calls(tmp_path, only_plans):
    layer = _layer()
    features = {"who": _dense([3])}
    layer(features)
    path = tf.train.Checkpoint(layer=layer).save(str(tmp_path / "ckpt"))
    only_plans()
    table = layer.embedding_tables[_USER]
    saved = table[3].numpy()
    table.assign(tf.zeros_like(table))
    np.testing.assert_array_equal(layer(features)["who"], [[0, 0]])
    table.scatter_nd_update([[3]], [[5, 6]])
    np.testing.assert_array_equal(layer(features)["who"], [[5, 6]])
    tf.train.Checkpoint(layer=layer).restore(path).assert_consumed()
    np.testing.assert_array_equal(layer(features)["who"], [saved])


def test_more_kinds_of_calls_than_are_kept():
    names = [f"f{i}" for i in range(7)]
    config = {name: embedding.FeatureConfig(_VIDEO) for name in names}
    layer = _layer(features=config)
    table = next(iter(layer.embedding_tables.values()))
    subsets = [
        subset for n in range(1, 8) for subset in itertools.combinations(names, n)
    ]
    assert len(subsets) > _call_plans._MAX_PLANS
    for subset in [*subsets, *reversed(subsets)]:
        features = {name: _dense([int(name[1:])]) for name in subset}
        for name, found in layer(features).items():
            np.testing.assert_array_equal(found[0], table[int(name[1:])])
        assert len(layer._call_plans._plans) <= _call_plans._MAX_PLANS


def test_quantized_objects_have_plans(only_plans):
    small = tf_embed.quantize(_layer(), {"video": "int8"})
    first = small(*_arguments("all", _OTHER))
    only_plans()
    _assert_same(small(*_arguments("all", _OTHER)), first)


def test_threads_may_call_one_object():
    layer = _layer()
    expected = {
        (kind, str(rows)): _stock(*_arguments(kind, rows))
        for kind in _KINDS
        for rows in (_ONE, _OTHER)
    }

    def call_often(seed):
        rng = np.random.default_rng(seed)
        for _ in range(100):
            kind = str(rng.choice(list(_KINDS)))
            rows = (_ONE, _OTHER)[rng.integers(2)]
            found = layer(*_arguments(kind, rows))
            _assert_same(found, expected[kind, str(rows)])

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(call_often, seed) for seed in range(4)]:
            future.result(timeout=120)
