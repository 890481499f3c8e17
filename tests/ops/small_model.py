"""A small configured engine, and the proof that it still works."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tests.ops import harness
from tests.reference import cases

Config = cases.Config

# Two tables, three features: "color" [4] and "words" [2, 3] on table "shared",
# "user" [4] on table "own".
VOCABULARIES = (7, 5)
DIMENSIONS = (2, 3)
FEATURE_SHAPES = ([4], [2, 3], [4])
FEATURE_TABLES = (0, 0, 1)


def feature_config(**fields: Any) -> Config:
    """Feature dialect, SGD with learning rate 1 and Adagrad with a dynamic one."""
    config = Config(mode=Config.TRAINING, **fields)
    for name, vocabulary, dimension in zip(
        ("shared", "own"), VOCABULARIES, DIMENSIONS, strict=True
    ):
        config.table_descriptor.add(
            name=name, vocabulary_size=vocabulary, dimension=dimension
        )
    sgd, adagrad = (t.optimization_parameters for t in config.table_descriptor)
    sgd.stochastic_gradient_descent.SetInParent()
    sgd.learning_rate.constant = 1.0
    adagrad.adagrad.SetInParent()
    adagrad.learning_rate.dynamic.tag = 0
    for name, table, shape in zip(
        ("color", "words", "user"), FEATURE_TABLES, FEATURE_SHAPES, strict=True
    ):
        config.feature_descriptor.add(name=name, table_id=table, input_shape=shape)
    return config


def table_config(**fields: Any) -> Config:
    """Table dialect: batches of 2, tables with 2 and 1 features."""
    config = feature_config(**fields)
    del config.feature_descriptor[:]
    config.batch_size_per_tensor_core = 2
    config.table_descriptor[0].num_features = 2
    config.table_descriptor[1].num_features = 1
    return config


def parameters() -> list[list[np.ndarray]]:
    """[weights, *slots] of each table, every number another."""
    shared = np.arange(14, dtype=np.float32).reshape(7, 2)
    own = 100 + np.arange(15, dtype=np.float32).reshape(5, 3)
    return [[shared], [own, np.full((5, 3), 0.25, np.float32)]]


def load(config: Config) -> None:
    for t, values in enumerate(parameters()):
        harness.load(config, t, values)


def configured(config: Config) -> Config:
    harness.configure(config)
    load(config)
    return config


# Valid arguments of an ArbitraryTensorBatch: color is dense, words sparse,
# user ragged.
def arbitrary_inputs() -> dict[str, Any]:
    return {
        "sample_indices_or_row_splits": [
            np.zeros(0, np.int32),
            np.array([[0, 0, 0], [1, 2, 0]], np.int32).reshape(-1, 3),
            np.array([0, 1, 1, 3, 3], np.int32),
        ],
        "embedding_indices": [
            np.array([0, 1, 2, 3], np.int64),
            np.array([6, 5], np.int64),
            np.array([4, 0, 1], np.int64),
        ],
        "aggregation_weights": [np.zeros(0, np.float32) for _ in range(3)],
    }


def enqueue(mode: str = "unspecified", device_ordinal: int = -1, **changes: Any) -> Any:
    arguments = arbitrary_inputs() | {"combiners": []} | changes
    return harness.op(
        "EnqueueTPUEmbeddingArbitraryTensorBatch",
        mode_override=mode,
        device_ordinal=device_ordinal,
        **arguments,
    )


def activations() -> list[np.ndarray]:
    """What Recv gives for arbitrary_inputs() and parameters()."""
    (shared,), (own, _) = parameters()
    words = np.zeros((2, 3, 2), np.float32)
    words[0, 0], words[1, 2] = shared[6], shared[5]
    user = np.stack([own[4], np.zeros(3), own[0] + own[1], np.zeros(3)])
    return [shared[[0, 1, 2, 3]], words, user.astype(np.float32)]


def gradients(value: float = 1.0, num_cores: int = 1) -> list[np.ndarray]:
    return [
        np.full([shape[0] * num_cores, *shape[1:], DIMENSIONS[t]], value, np.float32)
        for shape, t in zip(FEATURE_SHAPES, FEATURE_TABLES, strict=True)
    ]


LEARNING_RATES = (np.float32(0.5),)


def parameters_after(steps: int, num_cores: int = 1) -> list[list[np.ndarray]]:
    """parameters() after steps with arbitrary_inputs() and gradients()."""
    (shared,), (own, accumulators) = parameters()
    for _ in range(steps):
        # Each id once on each core; SGD with learning rate 1.
        shared[[0, 1, 2, 3, 5, 6]] -= num_cores
        accumulators[[0, 1, 4]] += num_cores**2
        own[[0, 1, 4]] -= (
            LEARNING_RATES[0] * num_cores / np.sqrt(accumulators[[0, 1, 4]])
        )
    return [[shared], [own, accumulators]]


def assert_tables(
    config: Config, expected: Sequence[Sequence[np.ndarray]], rtol: float = 0
) -> None:
    actual = harness.tables_of(config)
    for values, wanted in zip(actual, expected, strict=True):
        for value, want in zip(values, wanted, strict=True):
            np.testing.assert_allclose(value, want, rtol=rtol, atol=0)


def assert_works(config: Config, core: int = 0) -> None:
    """The tables are as loaded, and a lookup gives what they hold."""
    assert_tables(config, parameters())
    if not config.feature_descriptor:
        return
    enqueue("inference", device_ordinal=core)
    for actual, expected in zip(harness.recv(config, core), activations(), strict=True):
        np.testing.assert_array_equal(actual, expected)


def tear_down() -> None:
    """Leaves no engine for the next test."""
    with tf.init_scope():
        harness.op("ShutdownDistributedTPU")
