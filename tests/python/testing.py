"""What the Python tests share: small configurations, steps, subprocesses."""

import os
import subprocess
import sys
import textwrap

import numpy as np
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
