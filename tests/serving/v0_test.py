"""TPUEmbeddingV0 on the virtual TPU: TensorFlow's numbers, loops and checkpoints."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from random_calls import random_call
from v0_comparison import CORES, STOCK, check_same, strategy

import tf_embed

embedding = tf.tpu.experimental.embedding
CLASSES = [STOCK, tf_embed.TPUEmbeddingV0]
BATCH = 4 * CORES


def test_same_as_tensorflows_class():
    outcomes = collections.Counter(check_same(random_call(seed)) for seed in range(24))
    assert outcomes["numbers"] >= 8 and outcomes["error"] >= 4, outcomes


@pytest.mark.parametrize("cls", CLASSES)
def test_elsewhere_is_refused(cls):
    with pytest.raises(RuntimeError, match="should be created under TPUStrategy"):
        cls(embedding.FeatureConfig(embedding.TableConfig(4, 2)), None)


def _features():
    video = embedding.TableConfig(8, 4, combiner="mean", name="video")
    user = embedding.TableConfig(6, 2, combiner="sum", name="user")
    return {
        "watched": embedding.FeatureConfig(video),
        "friends": embedding.FeatureConfig(user),
        "who": embedding.FeatureConfig(user),
    }


def _layer(cls, optimizer):
    with strategy().scope():
        layer = cls(_features(), optimizer)
        rng = np.random.default_rng(0)
        for table in layer.embedding_tables.values():
            table.assign(rng.normal(size=table.shape).astype(np.float32))
    return layer


def _dataset():
    rng = np.random.default_rng(1)
    lengths = rng.integers(0, 4, BATCH)
    watched = tf.RaggedTensor.from_row_lengths(
        rng.integers(0, 7, lengths.sum()), lengths
    )
    friends = tf.RaggedTensor.from_row_lengths(
        rng.integers(0, 5, lengths.sum()), lengths
    )
    inputs = {
        "watched": watched,
        "friends": friends.to_sparse(),
        "who": rng.integers(0, 5, BATCH),
    }
    labels = rng.normal(size=(BATCH, 1)).astype(np.float32)
    dataset = tf.data.Dataset.from_tensors((inputs, labels)).repeat()
    dataset = dataset.unbatch().batch(BATCH, drop_remainder=True)
    options = tf.distribute.InputOptions(experimental_fetch_to_device=False)
    return strategy().experimental_distribute_dataset(dataset, options)


def _loss(activations, labels):
    output = tf.add_n(
        [tf.reduce_sum(x, axis=1, keepdims=True) for x in activations.values()]
    )
    return tf.reduce_mean((output - labels) ** 2)


def _train(layer, apply_gradients, steps=3, jit_compile=None):
    """The loop of the class' documentation; the tables afterwards."""
    iterator = iter(_dataset())

    @tf.function(autograph=True)
    def training_step(iterator, num_steps):
        @tf.function(jit_compile=jit_compile)
        def tpu_step(batch):
            features, labels = batch
            tables = list(layer.embedding_tables.values())
            with tf.GradientTape() as tape:
                tape.watch(tables)
                loss = _loss(layer(features), labels)
            apply_gradients(zip(tape.gradient(loss, tables), tables, strict=True))

        for _ in tf.range(num_steps):
            strategy().run(tpu_step, args=(next(iterator),))

    training_step(iterator, tf.constant(steps))
    return _tables(layer)


def _tables(layer):
    return [
        strategy().experimental_local_results(table)[0].numpy()
        for table in layer.embedding_tables.values()
    ]


def _evaluate(layer, steps=2):
    """The other loop of the documentation; the mean loss."""
    iterator = iter(_dataset())
    with strategy().scope():
        mean = tf_keras.metrics.Mean()

    @tf.function
    def evaluation_step(iterator, num_steps):
        def tpu_step(batch):
            features, labels = batch
            mean.update_state(_loss(layer(features), labels))

        for _ in tf.range(num_steps):
            strategy().run(tpu_step, args=(next(iterator),))

    evaluation_step(iterator, tf.constant(steps))
    return mean.result().numpy()


def _with_keras(cls):
    with strategy().scope():
        optimizer = tf_keras.optimizers.legacy.Adagrad(0.1)

        def slot_variable_creation_fn(table, slot_names, slot_initializers):
            (name,), (initializer,) = slot_names, slot_initializers
            # Keras has no plural.
            return {name: optimizer.add_slot(table, "accumulator", initializer)}

        layer = _layer(
            cls,
            embedding.Adagrad(0.1, slot_variable_creation_fn=slot_variable_creation_fn),
        )
    return layer, optimizer


@pytest.mark.parametrize("jit_compile", [None, True])
def test_loops_of_the_documentation_with_a_keras_optimizer(jit_compile):
    losses = []
    tables = []
    for cls in CLASSES:
        layer, optimizer = _with_keras(cls)
        before = _evaluate(layer)
        # Nobody compiles TensorFlow's lookups of sparse tensors.
        compiled = jit_compile if cls is not STOCK else None
        tables.append(_train(layer, optimizer.apply_gradients, jit_compile=compiled))
        losses.append((before, _evaluate(layer)))
        # The optimizer's slots are those of the embedding object.
        for config, table in layer.embedding_tables.items():
            slot = optimizer.get_slot(table, "accumulator")
            assert slot is layer._variables[config.name]["accumulators"]
            accumulators = strategy().experimental_local_results(slot)[0].numpy()
            changed = accumulators != np.float32(0.1)
            assert changed.any() and not changed.all()
    for want, got in zip(*tables, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert losses[0][1] < losses[0][0]


@pytest.mark.parametrize("jit_compile", [None, True])
@pytest.mark.parametrize("name", ["SGD", "Adagrad", "FTRL", "Adam"])
def test_training_loop_with_an_embedding_optimizer(name, jit_compile):
    layer = _layer(tf_embed.TPUEmbeddingV0, getattr(embedding, name)(0.1))
    before = _tables(layer)
    after = _train(layer, layer.apply_gradients, jit_compile=jit_compile)
    for old, new in zip(before, after, strict=True):
        changed = np.abs(new - old).max(axis=1) > 0
        assert changed[:5].any()
        assert not changed[-1], "a row that nobody looked up has changed"
    for table in layer.embedding_tables.values():
        first, *others = strategy().experimental_local_results(table)
        for other in others:
            np.testing.assert_array_equal(first, other)
    if name == "Adagrad":  # Keras' formula, and rows summed before they are squared
        reference, optimizer = _with_keras(STOCK)
        for got, want in zip(
            after, _train(reference, optimizer.apply_gradients), strict=True
        ):
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_apply_gradients_outside_of_a_replica_is_refused():
    layer = _layer(tf_embed.TPUEmbeddingV0, embedding.SGD(0.1))
    with strategy().scope(), pytest.raises(RuntimeError, match="in strategy.run"):
        layer.apply_gradients([])


def test_replicas_are_not_updated_one_by_one():
    layer = tf_embed.TPUEmbeddingForServing(_features(), embedding.SGD(0.1))
    layer.build()
    layer._variables = _layer(tf_embed.TPUEmbeddingV0, embedding.SGD(0.1))._variables
    message = f"has {CORES} replicas"
    with pytest.raises(RuntimeError, match=message):
        layer.apply_gradients([])
    who = {"who": tf.constant([1])}
    with pytest.raises(RuntimeError, match=message):
        layer.apply_activation_gradients(who, {"who": tf.zeros([1, 2])})


def test_checkpoint_goes_both_ways_and_to_serving(tmp_path):
    layers = [_layer(cls, embedding.Adagrad(0.1)) for cls in CLASSES]
    want = _train(layers[1], layers[1].apply_gradients)
    for i, (source, target) in enumerate([layers[::-1], layers]):
        path = tf.train.Checkpoint(embedding=source).save(str(tmp_path / str(i)))
        tf.train.Checkpoint(embedding=target).restore(path).assert_consumed()
        for got, table in zip(_tables(target), want, strict=True):
            np.testing.assert_array_equal(got, table)
    server = tf_embed.TPUEmbeddingForServing(_features(), embedding.Adagrad(0.1))
    server.build()
    tf.train.Checkpoint(embedding=server).restore(path).assert_consumed()
    for variable, table in zip(server.embedding_tables.values(), want, strict=True):
        np.testing.assert_array_equal(variable, table)
