"""What the Keras layers of both Kerases have in common."""

import dataclasses
from typing import Any

import tensorflow as tf
from tensorflow.python.saved_model import save_context
from tensorflow.python.tpu import tpu_embedding_base
from tensorflow.python.util import nest

from tf_embed._embedding_config import Serializer
from tf_embed.serving._fused_lookup import fused_lookup
from tf_embed.serving._fused_update import FusedUpdate
from tf_embed.serving._lookup import (
    match_features,
    plan_features,
    serving_embedding_lookup,
)


@dataclasses.dataclass
class _State:
    """Apart from the layer, whose attributes Keras would wrap."""

    feature_config: Any
    optimizer: Any
    tables: list[Any]
    # Table name to {"parameters" and slot name: the layer's weight}.
    weights: dict[str, dict[str, Any]]


def _sequence_mask(inp: Any, length: int) -> tf.Tensor:
    """Where a sequence feature has an id, [B, L]."""
    if isinstance(inp, tf.RaggedTensor):
        return tf.sequence_mask(inp.row_lengths(), length)
    places = tf.SparseTensor(
        inp.indices, tf.ones_like(inp.values, dtype=tf.int32), inp.dense_shape
    )
    present = tf.sparse.to_dense(places, validate_indices=False)[:, :length] > 0
    return tf.pad(present, [[0, 0], [0, length - tf.shape(present)[1]]])


class FusedEmbeddingMixin:
    """Made a layer by a class that also derives from a Keras' Layer."""

    # The Keras at hand.
    _serializer: Serializer

    def __init__(
        self, feature_config: Any, optimizer: Any | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        # Names the tables, gives them their optimizer, checks both. Not handed the
        # structure itself, whose lists it would wrap in place.
        checked = tpu_embedding_base.TPUEmbeddingBase(
            nest.flatten(feature_config), optimizer
        )
        self._state = _State(feature_config, optimizer, checked._table_config, {})
        trained_here = [table.optimizer is not None for table in self._state.tables]
        if any(trained_here) != all(trained_here):
            raise ValueError(
                "Either all tables have an embedding optimizer or none has one."
            )
        self._trained_here = all(trained_here)
        compute_dtype = self.compute_dtype  # type: ignore[attr-defined]
        if self._trained_here and compute_dtype == "float16":
            raise ValueError(
                "Embedding optimizers do not go with the compute dtype float16: the"
                " gradients that reach the tables are those of the scaled loss. Use"
                " bfloat16, or leave the optimizer to Keras."
            )
        if self._trained_here and tf.distribute.get_strategy().num_replicas_in_sync > 1:
            raise RuntimeError(
                "Embedding optimizers update the tables of one replica only. Under a"
                " strategy with several, leave the optimizer to Keras."
            )
        for table in self._state.tables:
            self._state.weights[table.name] = self._create_weights(table)
        if self._trained_here:
            # Gradients flow through it, or Keras would not ask for any.
            self._anchor = self._add_table_weight(
                "anchor", (), tf.zeros_initializer(), True
            )
        self.supports_masking = True
        self.built = True

    def _add_table_weight(
        self, name: str, shape: tuple[int, ...], initializer: Any, trainable: bool
    ) -> Any:
        raise NotImplementedError

    def _tf_variable(self, weight: Any) -> Any:
        raise NotImplementedError

    def _create_weights(self, table: Any) -> dict[str, Any]:
        shape = (table.vocabulary_size, table.dim)
        weights = {
            "parameters": self._add_table_weight(
                table.name, shape, table.initializer, not self._trained_here
            )
        }
        if self._trained_here:
            for slot, initializer in zip(
                table.optimizer._slot_names(),
                table.optimizer._slot_initializers(),
                strict=True,
            ):
                weights[slot] = self._add_table_weight(
                    f"{table.name}_{slot}", shape, initializer, False
                )
        return weights

    @property
    def embedding_tables(self) -> dict[Any, Any]:
        """TableConfig to its variable, [V, D]."""
        return {
            table: self._tf_variable(self._state.weights[table.name]["parameters"])
            for table in self._state.tables
        }

    def call(self, inputs: Any, weights: Any | None = None) -> Any:
        """Looks up `inputs`, a subset of `feature_config` by path."""
        trains = self._trained_here and self.trainable  # type: ignore[attr-defined]
        if trains and not save_context.in_save_context():
            outputs = self._lookup_and_train(inputs, weights)
        else:
            outputs = serving_embedding_lookup(
                inputs, weights, self.embedding_tables, self._state.feature_config
            )
        return nest.map_structure(
            lambda output: tf.cast(output, self.compute_dtype),  # type: ignore[attr-defined]
            outputs,
        )

    def _lookup_and_train(self, inputs: Any, weights: Any | None) -> Any:
        matched = match_features(inputs, weights, self._state.feature_config)
        plans = plan_features(matched, self.embedding_tables)
        fused = [plan for plan in plans if plan is not None]
        if len(fused) != len(plans):
            raise ValueError(
                "Embedding optimizers need int32 or int64 ids and float32 weights."
            )
        variables = {
            name: {slot: self._tf_variable(w) for slot, w in slots.items()}
            for name, slots in self._state.weights.items()
        }

        update = FusedUpdate(fused, self._state.tables, variables)

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def lookup(anchor: tf.Tensor) -> Any:
            def gradient(*upstream: tf.Tensor) -> tf.Tensor:
                values = [
                    plan.op_shaped(value)
                    for plan, value in zip(fused, upstream, strict=True)
                ]
                update(values)
                return tf.zeros_like(anchor)

            return tuple(fused_lookup(fused)), gradient

        outputs = lookup(tf.convert_to_tensor(self._tf_variable(self._anchor)))
        return nest.pack_sequence_as(inputs, nest.flatten(outputs))

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """Per sequence feature where it has ids, bool [B, L]; None for others."""
        del previous_mask
        features = dict(
            nest.flatten_with_joined_string_paths(self._state.feature_config)
        )
        masks: list[Any] = []
        for path, inp in nest.flatten_with_joined_string_paths(inputs):
            length = features[path].max_sequence_length
            sequence = length > 0 and not features[path].output_shape
            if sequence and isinstance(inp, (tf.RaggedTensor, tf.SparseTensor)):
                masks.append(_sequence_mask(inp, length))
            else:
                masks.append(None)
        if not any(mask is not None for mask in masks):
            return None
        return nest.pack_sequence_as(inputs, masks)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs: plain data."""
        state = self._state
        return {
            **super().get_config(),  # type: ignore[misc]
            "feature_config": self._serializer.pack(
                state.feature_config, state.optimizer
            ),
            "optimizer": self._serializer.pack_optimizer(state.optimizer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A layer like the one whose `get_config` this is, with fresh tables."""
        config = dict(config)
        config["feature_config"] = cls._serializer.unpack(config["feature_config"])
        config["optimizer"] = cls._serializer.unpack_optimizer(config["optimizer"])
        return cls(**config)


DOC = """Keras layer that looks up many features in one op.

    Takes what `tf_embed.TPUEmbeddingForServing` takes: dense, sparse and ragged
    ids in any structure, with three combiners and optional weights; gives the
    activations in the same structure. Sequence features come with a mask.

    Without an embedding optimizer the tables are trainable weights, which any
    Keras optimizer trains; it gets `tf.IndexedSlices` with each row once. With one
    the layer trains its tables itself, in the backward pass, in place: the
    gradient of a table is never formed. Keras' optimizer then has the rest of the
    model; its clipping and learning rate do not reach the tables, and a scaled loss
    scales their gradients.

    Args:
      feature_config: nested structure of
        `tf.tpu.experimental.embedding.FeatureConfig`.
      optimizer: embedding optimizer of the tables that have none of their own, or
        None.
      **kwargs: `name`, `dtype` and `trainable`, as of any layer. Tables are
        float32, whatever the dtype; activations have the compute dtype.

    Raises:
      ValueError: the configuration is inconsistent, only some of the tables have
        an optimizer, or the compute dtype is float16 where they do.
      RuntimeError: an embedding optimizer under a strategy with several replicas.

    Example:

    >>> import tensorflow as tf
    >>> from tf_embed.{module} import FusedEmbedding
    >>> embedding = tf.tpu.experimental.embedding
    >>> table = embedding.TableConfig(
    ...     vocabulary_size=4, dim=2, combiner="sum",
    ...     initializer=embedding.RowIdInitializer())
    >>> layer = FusedEmbedding({{"watched": embedding.FeatureConfig(table=table)}})
    >>> layer({{"watched": tf.ragged.constant([[1, 3], []])}})["watched"].numpy()
    array([[4., 4.],
           [0., 0.]], dtype=float32)
    """
