"""What the Python tests share: small configurations, steps, subprocesses."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.tpu.tpu_embedding_configuration_pb2 import (
    TPUEmbeddingConfiguration,
)

NONE = np.zeros([0], np.int32)
NO_WEIGHTS = np.zeros([0], np.float32)


def add_sgd_table(config, name, vocabulary_size, dimension, learning_rate=0.1):
    table = config.table_descriptor.add(
        name=name, vocabulary_size=vocabulary_size, dimension=dimension
    )
    parameters = table.optimization_parameters
    parameters.stochastic_gradient_descent.SetInParent()
    parameters.learning_rate.constant = learning_rate
    return table


def new_config():
    return TPUEmbeddingConfiguration(
        mode=TPUEmbeddingConfiguration.TRAINING, num_hosts=1, num_tensor_cores=1
    )


def feature_config():
    """Features user [4], item [4], seen [4, 2] on tables user (8x2), item (6x3)."""
    config = new_config()
    add_sgd_table(config, "user", 8, 2)
    add_sgd_table(config, "item", 6, 3)
    for name, table_id, shape in [
        ("user", 0, [4]),
        ("item", 1, [4]),
        ("seen", 1, [4, 2]),
    ]:
        config.feature_descriptor.add(name=name, table_id=table_id, input_shape=shape)
    return config


def table_config():
    """Tables a (5x2, 2 features) and b (3x4, 1 feature), B = 4."""
    config = new_config()
    config.batch_size_per_tensor_core = 4
    add_sgd_table(config, "a", 5, 2).num_features = 2
    add_sgd_table(config, "b", 3, 4).num_features = 1
    return config


def ragged(rows):
    """(row_splits, ids) of a list of lists."""
    splits = [0]
    for row in rows:
        splits.append(splits[-1] + len(row))
    return (
        np.array(splits, np.int32),
        np.array([i for row in rows for i in row], np.int64),
    )


def _eagerly(program, *arguments):
    return program(*arguments)


def _in_function(program, *arguments):
    return tf.function(program)(*arguments)


def _in_graph(program, *arguments):
    with tf.Graph().as_default():
        # What a program returns None for in eager mode is an op here.
        outputs = program(*arguments)
        with tf.compat.v1.Session() as session:
            return session.run(outputs)


def _as_array(value):
    value = value.numpy() if isinstance(value, tf.Tensor) else value
    # As an array of bytes it would lose zeros at its end.
    return np.asarray(value, object if isinstance(value, bytes) else None)


MODES = [_eagerly, _in_function, _in_graph]


def run_in(mode, program, *arguments):
    """What a program returns, as arrays; 1 where it returns nothing."""

    # A function or a session returns tensors, not ops: the number says that the
    # program has run.
    def with_result(*inner):
        outputs = program(*inner)
        operations = [
            x for x in tf.nest.flatten(outputs) if isinstance(x, tf.Operation)
        ]
        if outputs is None or operations:
            with tf.control_dependencies(operations):
                return tf.constant(1)
        return outputs

    return tf.nest.map_structure(_as_array, mode(with_result, *arguments))


def run_python(code):
    """Runs a program in a process of its own, with the modules seen here."""
    path = os.pathsep.join(map(os.path.abspath, sys.path))
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": path,
        },
    )
