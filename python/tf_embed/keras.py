"""Layers for Keras 3 on its TensorFlow backend."""

from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.util import nest

from tf_embed import _keras_layer
from tf_embed._embedding_config import Serializer
from tf_embed.serving._lookup import match_features

__all__ = ["FusedEmbedding"]

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "tf_embed.keras needs Keras' TensorFlow backend, not"
        f" {keras.backend.backend()}."
    )


@keras.saving.register_keras_serializable("tf_embed")
class FusedEmbedding(_keras_layer.FusedEmbeddingMixin, keras.layers.Layer):  # type: ignore[misc]
    __doc__ = _keras_layer.DOC.format(module="keras")

    _serializer = Serializer(
        keras.saving.serialize_keras_object, keras.saving.deserialize_keras_object
    )

    def __init__(
        self, feature_config: Any, optimizer: Any | None = None, **kwargs: Any
    ) -> None:
        # Weights of ids stay float32 under mixed precision.
        super().__init__(feature_config, optimizer, autocast=False, **kwargs)
        # "auto" leaves XLA alone: sparse inputs change their sizes.
        self.supports_jit = False

    def _add_table_weight(
        self, name: str, shape: tuple[int, ...], initializer: Any, trainable: bool
    ) -> Any:
        def initialize(shape: Any, dtype: Any = None, **_: Any) -> tf.Tensor:
            return initializer(tuple(shape), dtype=tf.as_dtype(dtype))

        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initialize,
            trainable=trainable,
            dtype="float32",
            autocast=False,
        )

    def _tf_variable(self, weight: Any) -> Any:
        return weight.value

    def compute_output_spec(self, inputs: Any, weights: Any | None = None) -> Any:
        # Keras would call the layer with dense tensors for ragged ones.
        features = dict(
            nest.flatten_with_joined_string_paths(self._state.feature_config)
        )
        with tf.Graph().as_default():
            match_features(
                nest.map_structure(_placeholder, inputs),
                nest.map_structure(_placeholder, weights),
                self._state.feature_config,
            )
        return nest.pack_sequence_as(
            inputs,
            [
                keras.KerasTensor(
                    _output_shape(inp, features[path]), dtype=self.compute_dtype
                )
                for path, inp in nest.flatten_with_joined_string_paths(inputs)
            ],
        )


def _placeholder(inp: Any) -> Any:
    """A TensorFlow tensor of the kind that a symbolic one stands for."""
    if not isinstance(inp, keras.KerasTensor):
        return inp
    if getattr(inp, "ragged", False):
        return tf.compat.v1.ragged.placeholder(inp.dtype, len(inp.shape) - 1, ())
    if inp.sparse:
        return tf.compat.v1.sparse_placeholder(inp.dtype, inp.shape)
    return tf.compat.v1.placeholder(inp.dtype, inp.shape)


def _output_shape(inp: Any, feature: Any) -> tuple[int | None, ...]:
    sparse = isinstance(inp, tf.SparseTensor) or getattr(inp, "sparse", False)
    ragged = isinstance(inp, tf.RaggedTensor) or getattr(inp, "ragged", False)
    length = feature.max_sequence_length
    positions = tuple(inp.shape)
    if ragged and feature.output_shape:
        positions = tuple(feature.output_shape)
    elif sparse or ragged:
        sequence = length > 0 and not feature.output_shape
        positions = positions[:-1] + ((length,) if sequence else ())
    return (*positions, feature.table.dim)
