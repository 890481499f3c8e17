"""The Keras layer, in Keras 3 and in tf_keras."""

import importlib
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

embedding = tf.tpu.experimental.embedding

OPTIMIZERS = [
    None,
    embedding.SGD(0.1),
    embedding.Adagrad(0.1, clipvalue=1.0),
    embedding.AdagradMomentum(0.1),
    embedding.FTRL(0.1),
    embedding.Adam(0.1, clipvalue=(None, 2.0)),
]


@pytest.fixture(params=["keras", "tf_keras"], scope="module")
def kit(request):
    """A Keras and the layer for it."""
    keras = pytest.importorskip(request.param)
    module = importlib.import_module(f"tf_embed.{request.param}")
    return types.SimpleNamespace(keras=keras, FusedEmbedding=module.FusedEmbedding)


def features():
    video = embedding.TableConfig(10, 4, combiner="mean", name="video")
    user = embedding.TableConfig(
        6, 3, combiner="sum", name="user", initializer=embedding.RowIdInitializer()
    )
    return {
        "watched": embedding.FeatureConfig(video, name="watched"),
        "last": embedding.FeatureConfig(video, max_sequence_length=3, name="last"),
        "who": embedding.FeatureConfig(user, name="who"),
        "friends": embedding.FeatureConfig(user, name="friends"),
    }


def inputs():
    return {
        "watched": tf.ragged.constant([[1, 3], [], [5, 5]], dtype=tf.int64),
        "last": tf.ragged.constant([[1], [2, 3, 4, 5], []], dtype=tf.int64),
        "who": tf.constant([1, 2, 3], tf.int64),
        "friends": tf.SparseTensor([[0, 0], [2, 1]], np.int64([3, 1]), [3, 2]),
    }


def dataset():
    return tf.data.Dataset.from_tensors((inputs(), np.float32([[1], [2], [3]])))


def functional_model(kit, optimizer=None):
    def make(shape, **kwargs):
        return kit.keras.Input(shape, dtype="int64", **kwargs)

    symbolic = {
        "watched": make((None,), ragged=True, name="watched"),
        "last": make((None,), ragged=True, name="last"),
        "who": make((), name="who"),
        "friends": make((2,), sparse=True, name="friends"),
    }
    found = kit.FusedEmbedding(features(), optimizer, name="embedding")(symbolic)
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "watched": (None, 4),
        "last": (None, 3, 4),
        "who": (None, 3),
        "friends": (None, 3),
    }
    sequence = kit.keras.layers.LSTM(4)(found["last"])
    joined = kit.keras.layers.Concatenate()(
        [found["watched"], found["who"], found["friends"], sequence]
    )
    model = kit.keras.Model(symbolic, kit.keras.layers.Dense(1)(joined))
    model.compile(kit.keras.optimizers.Adagrad(0.1), "mse")
    return model


def numbers(weights):
    return [np.array(weight) for weight in weights]


def test_import_of_the_package_imports_no_layer():
    program = (
        "import sys, tf_embed\n"
        # TensorFlow imports Keras 3 itself.
        "layers = {'tf_keras', 'tf_embed.keras', 'tf_embed.tf_keras'}\n"
        "found = layers & set(sys.modules)\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_values(kit):
    layer = kit.FusedEmbedding(features())
    found = layer(inputs())
    tables = {c.name: v.numpy() for c, v in layer.embedding_tables.items()}
    video, user = tables["video"], tables["user"]
    last = np.zeros((3, 3, 4), np.float32)
    last[0, 0] = video[1]
    last[1] = video[2:5]
    expected = {
        "watched": np.stack([(video[1] + video[3]) / 2, 0 * video[0], video[5]]),
        "last": last,
        "who": user[1:4],
        "friends": np.stack([user[3], 0 * user[0], user[1]]),
    }
    for name, want in expected.items():
        np.testing.assert_allclose(found[name], want, rtol=1e-6, err_msg=name)


def test_weights_and_subset(kit):
    layer = kit.FusedEmbedding(features())
    friends = inputs()["friends"]
    weights = tf.SparseTensor(friends.indices, [2.0, 0.5], friends.dense_shape)
    found = layer({"friends": friends}, {"friends": weights})["friends"]
    np.testing.assert_array_equal(found, [[6.0] * 3, [0.0] * 3, [0.5] * 3])


@pytest.mark.parametrize("form", ["ragged", "sparse"])
def test_mask_of_sequences(kit, form):
    layer = kit.FusedEmbedding(features())
    last = inputs()["last"]
    found = {**inputs(), "last": last if form == "ragged" else last.to_sparse()}
    masks = layer.compute_mask(found)
    assert [name for name, mask in masks.items() if mask is not None] == ["last"]
    expected = [[True, False, False], [True, True, True], [False, False, False]]
    np.testing.assert_array_equal(masks["last"], expected)
    np.testing.assert_array_equal(layer(found)["last"]._keras_mask, expected)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
def test_config_round_trip(kit, optimizer):
    layer = kit.FusedEmbedding(features(), optimizer, name="x")
    config = layer.get_config()
    again = kit.FusedEmbedding.from_config(config)
    assert again.get_config() == config
    assert again._state.optimizer == optimizer
    assert [w.shape for w in again.weights] == [w.shape for w in layer.weights]


def test_config_of_structures_and_of_what_cannot_be_saved(kit):
    table = embedding.TableConfig(
        4, 2, initializer=kit.keras.initializers.Constant(3.0), name="t"
    )
    nested = [(embedding.FeatureConfig(table), {"a": embedding.FeatureConfig(table)})]
    again = kit.FusedEmbedding.from_config(kit.FusedEmbedding(nested).get_config())
    [(first, second)] = again._state.feature_config
    assert first.table is second["a"].table
    np.testing.assert_array_equal(again.weights[0], np.full((4, 2), 3.0))

    class Zeros:
        def __call__(self, shape, dtype=None, **_):
            return tf.zeros(shape, dtype)

    table.initializer = Zeros()
    layer = kit.FusedEmbedding(embedding.FeatureConfig(table))
    with pytest.raises(ValueError, match="initializer of table t is .*cannot be saved"):
        layer.get_config()


@pytest.mark.parametrize("optimizer", [None, embedding.Adagrad(0.1)])
def test_fit_and_save(kit, optimizer, tmp_path):
    model = functional_model(kit, optimizer)
    layer = model.get_layer("embedding")
    before = numbers(layer.embedding_tables.values())
    losses = model.fit(dataset().repeat(20), epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    for old, new in zip(before, numbers(layer.embedding_tables.values()), strict=True):
        changed = np.abs(new - old).max(axis=1) > 0
        assert changed.any()
        assert not changed.all(), "rows that nobody looked up have changed"

    expected = model.predict(dataset(), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = kit.keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(dataset(), verbose=0), expected)
    model.save_weights(tmp_path / "model.weights.h5")
    fresh = functional_model(kit, optimizer)
    fresh.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(fresh.predict(dataset(), verbose=0), expected)


@pytest.mark.parametrize("optimizer", [None, embedding.Adagrad(0.1)])
def test_export_of_ragged_inputs(kit, optimizer, tmp_path):
    model = functional_model(kit, optimizer)
    module = tf.Module()
    module.held = [
        weight if isinstance(weight, tf.Variable) else weight.value
        for weight in model.variables
    ]

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int64, "ids"),
            tf.TensorSpec([None], tf.int64, "splits"),
        ]
    )
    def serve(ids, splits):
        watched = tf.RaggedTensor.from_row_splits(ids, splits)
        return {"score": model({**inputs(), "watched": watched})}

    tf.saved_model.save(module, str(tmp_path), signatures=serve)
    assert b"TfEmbed" not in (tmp_path / "saved_model.pb").read_bytes()
    loaded = tf.saved_model.load(str(tmp_path))
    watched = inputs()["watched"]
    score = loaded.signatures["serving_default"](
        ids=watched.values, splits=watched.row_splits
    )["score"]
    np.testing.assert_allclose(score, model(inputs()), rtol=1e-5, atol=1e-6)


def test_model_export_of_dense_inputs(kit, tmp_path):
    who = kit.keras.Input((), dtype="int64", name="who")
    layer = kit.FusedEmbedding({"who": features()["who"]})
    model = kit.keras.Model(who, layer({"who": who})["who"])
    model.export(str(tmp_path))
    assert b"TfEmbed" not in (tmp_path / "saved_model.pb").read_bytes()
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_array_equal(
        loaded.serve(tf.constant([5, 2], tf.int64)), [[5.0] * 3, [2.0] * 3]
    )


def test_embedding_optimizer_trains_in_the_backward_pass(kit):
    table = embedding.TableConfig(
        4, 1, combiner="sum", initializer=embedding.RowIdInitializer(), name="t"
    )
    layer = kit.FusedEmbedding(embedding.FeatureConfig(table), embedding.Adagrad(0.5))
    for traced in (False, True):

        def step():
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(layer(tf.ragged.constant([[1, 1], [3]])))
            return tape.gradient(loss, layer.trainable_variables[0])

        before = layer.embedding_tables[table].numpy()[:, 0]
        accumulators = np.array(layer.weights[-1])[:, 0]
        (tf.function(step) if traced else step)()
        gradient = np.float32([0, 2, 0, 1])
        accumulators += gradient**2
        expected = before - 0.5 * gradient / np.sqrt(accumulators)
        actual = layer.embedding_tables[table].numpy()[:, 0]
        np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("variable_rate", [False, True])
def test_embedding_optimizer_trains_in_branches_and_loops(kit, variable_rate):
    rate = tf.Variable(0.1)
    optimizer = embedding.Adagrad((lambda: rate) if variable_rate else 0.1)
    table = embedding.TableConfig(
        5, 1, combiner="sum", initializer=embedding.RowIdInitializer(), name="t"
    )
    layer = kit.FusedEmbedding(embedding.FeatureConfig(table), optimizer)

    @tf.function
    def step(first):
        with tf.GradientTape() as tape:
            loss = tf.constant(0.0)
            for i in tf.range(first, 5):
                if i % 2 == 0:
                    loss += tf.reduce_sum(layer(tf.reshape(i, [1])))
        tape.gradient(loss, layer.trainable_variables)

    for first, expected in ((5, []), (1, [2, 4])):
        before = layer.embedding_tables[table].numpy()[:, 0]
        step(tf.constant(first))
        after = layer.embedding_tables[table].numpy()[:, 0]
        assert np.flatnonzero(before - after).tolist() == expected


def test_embedding_optimizer_under_float16_is_refused(kit):
    def make(optimizer, dtype):
        config = embedding.FeatureConfig(embedding.TableConfig(4, 2, name="t"))
        return kit.FusedEmbedding(config, optimizer, dtype=dtype)

    with pytest.raises(ValueError, match="compute dtype float16"):
        make(embedding.SGD(0.1), "mixed_float16")
    make(embedding.SGD(0.1), "mixed_bfloat16")
    make(None, "mixed_float16")


@pytest.mark.parametrize("symbolic", [False, True])
def test_inputs_that_do_not_fit_are_refused(kit, symbolic):
    layer = kit.FusedEmbedding(features())
    found = inputs()
    weights = {"friends": tf.ones([3, 2])}
    if symbolic:
        found = {
            "last": kit.keras.Input((3,), dtype="int64"),
            "other": kit.keras.Input((3,), dtype="int64"),
            "friends": kit.keras.Input((2,), dtype="int64", sparse=True),
        }
        weights = {"friends": kit.keras.Input((2,))}
    else:
        found["last"] = found["other"] = tf.constant([[1, 2, 3]])
    for names, given, message in (
        (["other"], None, "Inputs are not a subset of feature_config"),
        (["last"], None, "last is a sequence feature but a dense tensor was passed"),
        (["friends"], weights, "Weight for friends is of type"),
    ):
        with pytest.raises(ValueError, match=message):
            layer({name: found[name] for name in names}, given)


def test_some_tables_with_an_optimizer_is_refused(kit):
    first = embedding.TableConfig(4, 2, optimizer=embedding.SGD(0.1), name="a")
    second = embedding.TableConfig(4, 2, name="b")
    config = [embedding.FeatureConfig(first), embedding.FeatureConfig(second)]
    with pytest.raises(ValueError, match="all tables have an embedding optimizer"):
        kit.FusedEmbedding(config)


def test_mixed_precision(kit):
    table = embedding.TableConfig(4, 2, name="t")
    layer = kit.FusedEmbedding(embedding.FeatureConfig(table), dtype="mixed_bfloat16")
    assert layer(tf.constant([1, 2])).dtype == tf.bfloat16
    assert layer.embedding_tables[table].dtype == tf.float32
