"""Gradient of TPUEmbeddingActivations, where TensorFlow brings none."""

from typing import Any

import tensorflow as tf


def gradients_collection(table_id: int) -> str:
    """Name of the graph collection with the gradients of a table's activations.

    It holds one entry per activation of the table: None until tf.gradients has
    passed the activation.
    """
    return f"tpu_embedding_gradients_table_{table_id}"


def activations_gradient(op: Any, gradient: Any) -> list[Any]:
    """Keeps the gradient in the collection; hands zeros to the inputs."""
    table_id = op.get_attr("table_id")
    lookup_id = op.get_attr("lookup_id")
    where = f"table_id {table_id}, lookup_id {lookup_id}"
    name = gradients_collection(table_id)
    gradients = tf.compat.v1.get_default_graph().get_collection_ref(name)
    if not gradients:
        raise RuntimeError(
            f"No gradients of embedding activations are expected ({where}): the"
            f" graph has no collection {name}. Call"
            " tf_embed.training.create_dummy_table_variables when training, and ask"
            " for no gradients otherwise."
        )
    if not 0 <= lookup_id < len(gradients):
        raise RuntimeError(
            f"Gradient for an unknown embedding activation ({where}): lookup_id is"
            f" outside [0, {len(gradients)})."
        )
    if gradients[lookup_id] is not None:
        raise RuntimeError(
            f"Second gradient for an embedding activation ({where}): tf.gradients"
            " was called more than once. Put tf.stop_gradient around the"
            " activations in the calls that must not train the tables."
        )
    gradients[lookup_id] = tf.identity(gradient)
    return [tf.zeros(tensor.shape, tf.float32) for tensor in op.inputs]


def register() -> None:
    """Registers the gradient unless TensorFlow has."""
    try:
        # Registers TensorFlow's own, where there is one; must come first.
        import tensorflow.python.tpu.ops.tpu_ops  # noqa: F401
    except ImportError:
        pass
    try:
        tf.RegisterGradient("TPUEmbeddingActivations")(activations_gradient)
    except KeyError:
        pass  # registered already
