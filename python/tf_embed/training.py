"""Helpers of TF1-style training graphs, which TensorFlow no longer ships.

Activations come from an op without inputs, so that tf.gradients would not pass
through them. The helpers tie each activation to a dummy variable of its table;
the gradient of the tying op is kept in a graph collection, from where it goes
to SendTPUEmbeddingGradients.

An *activation* here belongs to one feature: a feature descriptor of the
configuration; without feature descriptors, one of the `num_features` slots of
a table, those of table 0 first.

>>> import tensorflow as tf, tf_embed
>>> from tf_embed import raw_ops, training
>>> from tensorflow.core.protobuf.tpu import tpu_embedding_configuration_pb2
>>> config = tpu_embedding_configuration_pb2.TPUEmbeddingConfiguration(
...     mode="TRAINING", num_hosts=1, num_tensor_cores=1)
>>> table = config.table_descriptor.add(
...     name="user", vocabulary_size=3, dimension=2)
>>> table.optimization_parameters.stochastic_gradient_descent.SetInParent()
>>> table.optimization_parameters.learning_rate.constant = 0.5
>>> config.feature_descriptor.add(name="user").input_shape.append(2)
>>> with tf.Graph().as_default():
...     configure = raw_ops.ConfigureTPUEmbedding(config=config)
...     enqueue = raw_ops.EnqueueTPUEmbeddingArbitraryTensorBatch(
...         sample_indices_or_row_splits=[tf.zeros([0], tf.int32)],
...         embedding_indices=[[2, 0]],
...         aggregation_weights=[tf.zeros([0])],
...         mode_override="unspecified")
...     variables, initializer = training.create_dummy_table_variables(config)
...     with tf.control_dependencies([enqueue]):
...         received = raw_ops.RecvTPUEmbeddingActivations(
...             num_outputs=1, config=config)
...     activations = training.hook_dummy_table_variables_to_activations(
...         config, received, variables)
...     loss = tf.reduce_sum(activations[0])
...     minimize = tf.compat.v1.train.GradientDescentOptimizer(0.1).minimize(loss)
...     gradients = training.get_gradients_through_dummy_table_variables(config)
...     send = training.generate_send_gradients_op(config, gradients)
...     with tf.compat.v1.Session() as session:
...         _ = session.run([configure, initializer])
...         _ = session.run([minimize, send])
...         session.run(raw_ops.RetrieveTPUEmbeddingStochasticGradientDescentParameters(
...             table_name="user", num_shards=1, shard_id=0))
array([[-0.5, -0.5],
       [ 0. ,  0. ],
       [-0.5, -0.5]], dtype=float32)
"""

import collections
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_embed import _activations_gradient, _config, raw_ops
from tf_embed._config import Config

__all__ = [
    "create_dummy_table_variables",
    "generate_send_gradients_op",
    "get_gradients_through_dummy_table_variables",
    "hook_dummy_table_variables_to_activations",
]

_VARIABLES_COLLECTION = "tpu_embedding_dummy_table_variables"
# Ours: what the gradients must come after.
_HOOKED_COLLECTION = "tf_embed_hooked_activations"


def _tables_of_activations(config: Config) -> list[int]:
    """Per activation its table."""
    message = _config.parse(config)
    _config.check(_config.serialize(config))
    if message.feature_descriptor:
        return [feature.table_id for feature in message.feature_descriptor]
    return [
        table_id
        for table_id, table in enumerate(message.table_descriptor)
        for _ in range(table.num_features)
    ]


def _lookup_ids(tables: Sequence[int]) -> list[int]:
    """Per activation its position among those of its table."""
    seen: collections.Counter[int] = collections.Counter()
    lookup_ids = []
    for table_id in tables:
        lookup_ids.append(seen[table_id])
        seen[table_id] += 1
    return lookup_ids


def create_dummy_table_variables(config: Config) -> tuple[dict[str, Any], Any]:
    """Creates the variables through which gradients of activations are asked for.

    Adds a trainable float32 variable `tpu_embedding_dummy_table_variable_<table>`,
    [1], per table to the collection `tpu_embedding_dummy_table_variables`, and a
    collection `tpu_embedding_gradients_table_<id>` of None, one per activation.
    They are not among the global variables, so that no checkpoint holds them.

    Args:
      config: a TPUEmbeddingConfiguration, serialized or not.

    Returns:
      (variables, initializer): a dict from table name to variable, in table
      order, and the op that initialises them.

    Raises:
      ValueError: the graph has the variables already, table names are empty or
        repeated, or `config` does not parse.
      RuntimeError: eager mode, which has tf.GradientTape instead.

    Example: see the head of `tf_embed.training`.
    """
    if tf.executing_eagerly():
        raise RuntimeError("create_dummy_table_variables needs a graph, not eager mode")
    graph = tf.compat.v1.get_default_graph()
    if graph.get_collection_ref(_VARIABLES_COLLECTION):
        raise ValueError("The graph has dummy table variables already")
    names = [table.name for table in _config.parse(config).table_descriptor]
    for name in names:
        if not name or names.count(name) > 1:
            raise ValueError(f"Table name '{name}' is empty or repeated")
    activations = collections.Counter(_tables_of_activations(config))
    variables = {}
    for table_id, name in enumerate(names):
        variables[name] = tf.compat.v1.get_variable(
            f"tpu_embedding_dummy_table_variable_{name}",
            shape=[1],
            dtype=tf.float32,
            initializer=tf.compat.v1.zeros_initializer(),
            trainable=True,
            use_resource=True,
            collections=[_VARIABLES_COLLECTION],
        )
        gradients = graph.get_collection_ref(
            _activations_gradient.gradients_collection(table_id)
        )
        gradients[:] = [None] * activations[table_id]
    initializer = tf.group(*(variable.initializer for variable in variables.values()))
    return variables, initializer


def hook_dummy_table_variables_to_activations(
    config: Config,
    activations: Sequence[Any],
    dummy_table_variables: dict[str, Any],
) -> list[Any]:
    """Ties activations to the dummy variables, so that tf.gradients passes them.

    Args:
      config: a TPUEmbeddingConfiguration, serialized or not.
      activations: what RecvTPUEmbeddingActivations returned for `config`.
      dummy_table_variables: what `create_dummy_table_variables` returned.

    Returns:
      One float32 tensor per activation, [*input_shape, D], or without feature
      descriptors [B, D], for the model to use.

    Raises:
      ValueError: `activations` are not as many as Recv returns.

    Example: see the head of `tf_embed.training`.
    """
    summary = _config.check(_config.serialize(config))
    if len(activations) != summary.num_activations:
        raise ValueError(
            f"activations has {len(activations)} entries, but the config has"
            f" {summary.num_activations} {summary.activations_are}"
        )
    tables = _tables_of_activations(config)
    if summary.tables_of_features is None:
        activations = [
            slot
            for table, rows in zip(
                _config.parse(config).table_descriptor, activations, strict=True
            )
            for slot in tf.unstack(
                tf.reshape(rows, [-1, table.num_features, table.dimension]),
                num=table.num_features,
                axis=1,
            )
        ]
    hooked = [
        raw_ops.TPUEmbeddingActivations(
            embedding_variable=dummy_table_variables[summary.table_names[table_id]],
            sliced_activations=activation,
            table_id=table_id,
            lookup_id=lookup_id,
        )
        for activation, table_id, lookup_id in zip(
            activations, tables, _lookup_ids(tables), strict=True
        )
    ]
    tf.compat.v1.get_default_graph().get_collection_ref(_HOOKED_COLLECTION)[:] = hooked
    return hooked


def get_gradients_through_dummy_table_variables(config: Config) -> list[Any]:
    """Returns the gradients that tf.gradients left in the graph's collections.

    Call it after tf.gradients, or `minimize` of an optimizer.

    Args:
      config: a TPUEmbeddingConfiguration, serialized or not.

    Returns:
      Float32 tensors for SendTPUEmbeddingGradients: per feature
      [*input_shape, D], or without feature descriptors per table
      [B * num_features, D].

    Raises:
      ValueError: an activation has no gradient: tf.gradients was not called, or
        the loss does not depend on the activation. (Give an activation that the
        loss must not train a zero gradient: `loss + 0 * tf.reduce_sum(x)`.)

    Example: see the head of `tf_embed.training`.
    """
    summary = _config.check(_config.serialize(config))
    tables = _tables_of_activations(config)
    graph = tf.compat.v1.get_default_graph()
    per_table = [
        graph.get_collection_ref(_activations_gradient.gradients_collection(table_id))
        for table_id in range(len(summary.table_names))
    ]
    gradients = []
    for table_id, lookup_id in zip(tables, _lookup_ids(tables), strict=True):
        slots = per_table[table_id]
        if lookup_id >= len(slots) or slots[lookup_id] is None:
            raise ValueError(
                f"Table '{summary.table_names[table_id]}' has no gradient for its"
                f" activation {lookup_id}: tf.gradients was not called, or the loss"
                " does not depend on it"
            )
        gradients.append(slots[lookup_id])
    # A gradient that does not depend on the activations, as that of a linear
    # loss, could otherwise be sent before they are received.
    with tf.control_dependencies(graph.get_collection_ref(_HOOKED_COLLECTION)):
        if summary.tables_of_features is not None:
            return [tf.identity(gradient) for gradient in gradients]
        return [
            tf.reshape(tf.stack(slots, axis=1), [-1, table.dimension])
            for table, slots in zip(
                _config.parse(config).table_descriptor, per_table, strict=True
            )
        ]


def generate_send_gradients_op(
    config: Config,
    gradients: Sequence[Any],
    learning_rates: Sequence[Any] = (),
    name: str | None = None,
) -> Any:
    """Creates the op that updates the tables with gradients.

    Args:
      config: a TPUEmbeddingConfiguration, serialized or not.
      gradients: float32 tensors, as `get_gradients_through_dummy_table_variables`
        returns them.
      learning_rates: one scalar per dynamic learning rate tag of `config`, in
        the order of the tags; cast to float32.
      name: str, name of the op (optional).

    Returns:
      The SendTPUEmbeddingGradients op.

    Raises:
      ValueError: the number of gradients or learning rates is not what `config`
        asks for.

    Example: see the head of `tf_embed.training`.
    """
    return raw_ops.SendTPUEmbeddingGradients(
        inputs=list(gradients),
        learning_rates=[tf.cast(rate, tf.float32) for rate in learning_rates],
        config=config,
        name=name,
    )
