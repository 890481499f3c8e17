"""Layers for Keras 2, the package tf_keras."""

from typing import Any

import tf_keras

from tf_embed import _keras_layer
from tf_embed._embedding_config import Serializer

__all__ = ["FusedEmbedding"]


@tf_keras.saving.register_keras_serializable("tf_embed")
class FusedEmbedding(_keras_layer.FusedEmbeddingMixin, tf_keras.layers.Layer):  # type: ignore[misc]
    __doc__ = _keras_layer.DOC.format(module="tf_keras")

    _serializer = Serializer(
        tf_keras.saving.serialize_keras_object, tf_keras.saving.deserialize_keras_object
    )

    def __init__(
        self, feature_config: Any, optimizer: Any | None = None, **kwargs: Any
    ) -> None:
        # Weights of ids stay float32 under mixed precision.
        super().__init__(feature_config, optimizer, autocast=False, **kwargs)

    def _add_table_weight(
        self, name: str, shape: tuple[int, ...], initializer: Any, trainable: bool
    ) -> Any:
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            trainable=trainable,
            dtype="float32",
            experimental_autocast=False,
        )

    def _tf_variable(self, weight: Any) -> Any:
        return weight
