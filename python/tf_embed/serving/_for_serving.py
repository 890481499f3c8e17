"""TPUEmbeddingForServing on the fused op."""

from collections.abc import Iterable
from typing import Any

import tensorflow as tf
from tensorflow.python.tpu import tpu_embedding_for_serving
from tensorflow.python.util import nest

from tf_embed._autograph import not_converted
from tf_embed.serving._call_plans import CallPlans
from tf_embed.serving._fused_update import FusedUpdate, update_tables
from tf_embed.serving._lookup import match_features, plan_features


def _rows(gradient: Any, table: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """The rows that a gradient is for, and their gradients."""
    if isinstance(gradient, tf.IndexedSlices):
        return gradient.indices, gradient.values
    return tf.range(tf.shape(table)[0]), tf.convert_to_tensor(gradient)


class TPUEmbeddingForServing(
    tpu_embedding_for_serving.TPUEmbeddingForServing  # type: ignore[misc]
):
    """`tf.tpu.experimental.embedding.TPUEmbeddingForServing`, faster.

    Arguments, results, errors and checkpoints are those of TensorFlow's class;
    all features of a call are looked up by one op, in the variables themselves.

    Example:

    >>> import tensorflow as tf, tf_embed
    >>> embedding = tf.tpu.experimental.embedding
    >>> table = embedding.TableConfig(
    ...     vocabulary_size=4, dim=2, combiner="mean",
    ...     initializer=embedding.RowIdInitializer())
    >>> layer = tf_embed.TPUEmbeddingForServing(
    ...     {"watched": embedding.FeatureConfig(table=table)}, optimizer=None)
    >>> layer({"watched": tf.ragged.constant([[1, 3], [], [2]])})["watched"].numpy()
    array([[2., 2.],
           [0., 0.],
           [2., 2.]], dtype=float32)
    """

    def __init__(
        self,
        feature_config: Any,
        optimizer: Any | None,
        experimental_sparsecore_restore_info: dict[str, Any] | None = None,
        *,
        fused_export: bool = False,
    ) -> None:
        """Creates the object; variables are created when first needed.

        Args:
          feature_config: nested structure of
            `tf.tpu.experimental.embedding.FeatureConfig`.
          optimizer: an embedding optimizer, or None: no slot variables.
          experimental_sparsecore_restore_info: as in TensorFlow's class.
          fused_export: whether `tf.saved_model.save` writes the fused op, for
            servers that load tf_embed. Where its options have a namespace
            whitelist, "TfEmbed" must be on it. By default it writes stock ops, for
            any server.

        Raises:
          RuntimeError: under a TPUStrategy.
          ValueError: the configuration is inconsistent.
        """
        super().__init__(
            feature_config, optimizer, experimental_sparsecore_restore_info
        )
        self._fused_export = fused_export
        self._call_plans = CallPlans()

    @not_converted
    def embedding_lookup(self, features: Any, weights: Any | None = None) -> Any:
        """Looks up `features`; see `tf_embed.serving_embedding_lookup`."""
        return self._call_plans.lookup(self, features, weights)

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Any]]) -> Any:
        """Updates tables with their own embedding optimizers, in place.

        One op does all tables: it sums the gradients of each row in a fixed
        order, then updates the row and its slot variables once. The arithmetic
        is that of the TPU's optimizer, gradient clipping and weight decay
        included.

        Args:
          grads_and_vars: pairs of a gradient and a variable of
            `embedding_tables`, as Keras optimizers take them. Where the gradient
            is None, the table stays as it is. A row whose gradient is 0 counts as
            used: momentum and weight decay change it. In eager mode that is so
            for all features that were looked up, used by the loss or not.

        Returns:
          The operation in graph mode, otherwise None.

        Raises:
          RuntimeError: a table has no optimizer or lacks a slot variable; tables
            have several replicas; or this is traced for a SavedModel without
            `fused_export`.
          ValueError: a variable is no table of this object, or a gradient is not
            float32.
          tf.errors.InvalidArgumentError: a gradient has rows that its table has
            not, or another width; no table is changed.

        Example:

        >>> import tensorflow as tf, tf_embed
        >>> embedding = tf.tpu.experimental.embedding
        >>> table = embedding.TableConfig(
        ...     vocabulary_size=2, dim=1, combiner="sum",
        ...     initializer=embedding.RowIdInitializer())
        >>> layer = tf_embed.TPUEmbeddingForServing(
        ...     embedding.FeatureConfig(table=table), embedding.SGD(0.5))
        >>> variables = list(layer.embedding_tables.values())
        >>> with tf.GradientTape() as tape:
        ...     loss = tf.reduce_sum(layer(tf.ragged.constant([[1, 1], [0]])))
        >>> layer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        >>> variables[0].numpy().tolist()
        [[-0.5], [0.0]]
        """
        self._refuse_replicas()
        return update_tables(
            grads_and_vars,
            self.embedding_tables,
            _rows,
            self._table_config,
            self._variables,
            fused_export=self._fused_export,
        )

    def apply_activation_gradients(
        self, features: Any, gradients: Any, weights: Any | None = None
    ) -> Any:
        """Updates tables from the gradients of activations, in place.

        Does what `apply_gradients` does with the gradients of the tables, but
        never forms them: the quickest way to train.

        Args:
          features: what was looked up.
          gradients: of the activations, in the structure of `features`. Where one
            is None, the rows of its feature stay as they are.
          weights: as they were given for the lookup.

        Returns:
          The operation in graph mode, otherwise None.

        Raises:
          RuntimeError: as from `apply_gradients`.
          ValueError: features, gradients, weights and configuration do not fit
            together, or types are not those of the fused op: int32 or int64
            ids, float32 weights and gradients.
        """
        self._refuse_replicas()
        tables = self.embedding_tables
        matched = match_features(features, weights, self._feature_config)
        nest.assert_same_structure(features, gradients)
        values = []
        plans = plan_features(matched, tables)
        fused = []
        for (path, *_), plan, gradient in zip(
            matched, plans, nest.flatten(gradients), strict=True
        ):
            if plan is None:
                raise ValueError(f"Feature {path} does not fit the fused op.")
            if gradient is None:
                continue
            fused.append(plan)
            values.append(plan.op_shaped(gradient))
        if not fused:
            return None
        update = FusedUpdate(
            fused,
            self._table_config,
            self._variables,
            fused_export=self._fused_export,
        )
        return update(values)

    def _refuse_replicas(self) -> None:
        for config, table in self.embedding_tables.items():
            replicas = len(getattr(table, "values", ()))
            if replicas > 1:
                raise RuntimeError(
                    f"Table {config.name} has {replicas} replicas, which an update in"
                    " place would make different from each other: update it with a"
                    " Keras optimizer, or use TPUEmbeddingV0 on the virtual TPU."
                )
