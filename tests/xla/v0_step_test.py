"""A training step of TPUEmbeddingV0, compiled: lookup, gradient, update."""

import numpy as np
import pytest
import tensorflow as tf

import tf_embed
from tf_embed import xla

embedding = tf.tpu.experimental.embedding

_BATCH, _LENGTH, _WORDS, _ITEMS, _DIM = 6, 20, 50, 4000, 4
_INPUTS = (
    tf.TensorSpec([_BATCH, _LENGTH], tf.int32),
    tf.TensorSpec([_BATCH, _LENGTH], tf.float32),
    tf.TensorSpec([_BATCH], tf.int32),
)
_POSITIONS = np.argwhere(np.ones([_BATCH, _LENGTH])).astype(np.int64)


@pytest.fixture(scope="module")
def strategy():
    tf_embed.virtual_tpu.enable(num_cores=1)
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")
    tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)


class _Model:
    """V0 with a sparse, a ragged and a dense feature on two tables.

    XLA compiles for the CPU here, and refuses variables of another device: those
    that the layer has made on the virtual TPU are exchanged for others.
    """

    def __init__(self, strategy):
        words = embedding.TableConfig(_WORDS, _DIM, combiner="mean", name="words")
        items = embedding.TableConfig(_ITEMS, _DIM, combiner="sum", name="items")
        with strategy.scope():
            self.layer = tf_embed.TPUEmbeddingV0(
                {
                    "title": embedding.FeatureConfig(words, name="title"),
                    "history": embedding.FeatureConfig(items, name="history"),
                    "item": embedding.FeatureConfig(items, name="item"),
                },
                embedding.Adagrad(0.1),
            )
            self.layer.build()
        rng = np.random.default_rng(0)
        self.variables = {
            table: {
                name: tf.Variable(rng.uniform(0.1, 1, value.shape), dtype=tf.float32)
                for name, value in slots.items()
            }
            for table, slots in self.layer._variables.items()
        }
        self.layer._variables = self.variables
        self.start = self.values()

    def values(self):
        return tf.nest.map_structure(lambda v: v.numpy(), self.variables)

    def reset(self):
        tf.nest.map_structure(lambda v, x: v.assign(x), self.variables, self.start)

    def step(self, ids, weights, item):
        def sparse(values):
            return tf.SparseTensor(
                _POSITIONS, tf.reshape(values, [-1]), [_BATCH, _LENGTH]
            )

        history = tf.RaggedTensor.from_row_splits(
            tf.reshape(ids, [-1]) * 7,
            tf.constant(np.arange(_BATCH + 1) * _LENGTH),
            validate=False,
        )
        tables = list(self.layer.embedding_tables.values())
        with tf.GradientTape() as tape:
            out = self.layer(
                {"title": sparse(ids), "history": history, "item": item},
                {"title": sparse(weights), "history": None, "item": None},
            )
            loss = tf.add_n(
                [tf.reduce_sum(out[name] ** 2) for name in ("title", "history", "item")]
            )
        gradients = tape.gradient(loss, tables)
        self.layer.apply_gradients(zip(gradients, tables, strict=True))
        return loss


@pytest.fixture(scope="module")
def model(strategy):
    return _Model(strategy)


def test_CompiledStepsGiveTheNumbersOfStepsThatAreNot(model):
    rng = np.random.default_rng(1)
    inputs = (
        tf.constant(rng.integers(0, _WORDS, [_BATCH, _LENGTH]), tf.int32),
        tf.constant(rng.uniform(0.5, 1.5, [_BATCH, _LENGTH]), tf.float32),
        tf.constant(rng.integers(0, _ITEMS, [_BATCH]), tf.int32),
    )

    def three_steps(jit_compile):
        model.reset()
        step = tf.function(model.step, jit_compile=jit_compile)
        losses = [step(*inputs).numpy() for _ in range(3)]
        return losses, model.values()

    losses, values = three_steps(jit_compile=None)
    compiled_losses, compiled_values = three_steps(jit_compile=True)
    assert losses[2] < losses[0]
    np.testing.assert_allclose(compiled_losses, losses, rtol=1e-5)
    for table, slots in values.items():
        for name, want in slots.items():
            got = compiled_values[table][name]
            np.testing.assert_allclose(got, want, rtol=1e-5, err_msg=f"{table} {name}")
            assert (want != model.start[table][name]).any(), f"{table} {name}"


def test_StepCompilesForEveryGeneration(model, tpu_compiler):
    for topology, cost in xla.tpu_costs(model.step, *_INPUTS).items():
        assert cost.ok, f"{topology}: {cost.error}"
        # Tables and slot variables are written in place.
        assert cost.memory.alias >= 2 * (_WORDS + _ITEMS) * _DIM * 4, topology
