"""What the Python tests share: small configurations."""

from tensorflow.core.protobuf.tpu.tpu_embedding_configuration_pb2 import (
    TPUEmbeddingConfiguration,
)


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
    """Features (user [4], item [4], seen [4, 2]) on tables user (8x2), item (6x3)."""
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
