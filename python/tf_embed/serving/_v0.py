"""TPUEmbeddingV0 on the fused op."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import tensorflow as tf
from tensorflow.python.saved_model import save_context
from tensorflow.python.tpu import tpu_embedding_v1
from tensorflow.python.util import nest

from tf_embed import virtual_tpu
from tf_embed._autograph import not_converted
from tf_embed.serving._fused_lookup import FusedFeature, fused_lookup
from tf_embed.serving._fused_update import update_tables
from tf_embed.serving._lookup import COMBINERS, ID_TYPES, check_input


@dataclasses.dataclass
class _Plan:
    """A feature as the fused op takes it; `shape` is what the caller gets."""

    feature: FusedFeature
    shape: Any | None = None

    def shaped(self, activations: tf.Tensor) -> tf.Tensor:
        if self.shape is None:
            return activations
        return tf.reshape(activations, self.shape)


def _ones_like(ids: tf.Tensor) -> tf.Tensor:
    return tf.ones_like(ids, dtype=tf.float32)


def _dense_rows(plan: FusedFeature, ids: tf.Tensor, weights: tf.Tensor) -> _Plan:
    """Combines dense ids and weights, [..., M], over the last axis.

    The padding has id 0 and weight 0: it adds nothing, and counts as looked up,
    in TensorFlow's class as here.
    """
    if not (ids.shape.is_fully_defined() and ids.shape == weights.shape):
        weights = tf.broadcast_to(weights, tf.shape(ids))
    if ids.shape.is_fully_defined():
        *positions, length = ids.shape.as_list()
        splits = tf.constant([i * length for i in range(math.prod(positions) + 1)])
        shape: Any = [*positions, plan.table.shape[1]]
    else:
        dynamic = tf.shape(ids)
        splits = tf.range(tf.reduce_prod(dynamic[:-1]) + 1) * dynamic[-1]
        shape = tf.concat([dynamic[:-1], [plan.table.shape[1]]], 0)
    plan.form = "ragged"
    plan.ids = tf.reshape(ids, [-1])
    plan.weights = tf.reshape(weights, [-1])
    plan.indices = splits
    return _Plan(plan, shape)


def _cut(rows: tf.Tensor, length: int) -> tf.Tensor:
    """Rows of `length` columns, cut or padded with zeros."""
    rows = rows[:, :length]
    return tf.pad(rows, [[0, 0], [0, length - tf.shape(rows)[1]]])


def _plan_sparse(
    plan: FusedFeature, inp: tf.SparseTensor, weight: Any, feature: Any
) -> _Plan | None:
    length = feature.max_sequence_length
    sequence = length > 0 and not feature.output_shape
    if sequence and inp.shape.rank != 2:
        return None
    ids = tf.sparse.to_dense(inp)
    if weight is None:
        weight = tf.SparseTensor(inp.indices, _ones_like(inp.values), inp.dense_shape)
    weights = tf.sparse.to_dense(weight)
    if not sequence:
        return _dense_rows(plan, ids, weights)
    plan.combiner = "sum"  # of one id each: the id's row, or zeros
    ids = _cut(ids, length)[:, :, tf.newaxis]
    return _dense_rows(plan, ids, _cut(weights, length)[:, :, tf.newaxis])


def _plan_ragged(
    plan: FusedFeature, inp: tf.RaggedTensor, weight: Any, feature: Any
) -> _Plan | None:
    rows = inp.shape[0]
    length = feature.max_sequence_length
    shape = None
    if feature.output_shape:
        if not rows or not feature.output_shape.is_fully_defined():
            return None
        positions = math.prod(feature.output_shape)
        if positions % rows:
            return None
        length = positions // rows if positions > rows else 0
        shape = [*feature.output_shape, feature.table.dim]
    if length > 0:
        # Missing positions hold row 0, as in TensorFlow's class.
        plan.form = "dense"
        plan.ids = inp.to_tensor(shape=(rows, length))
        return _Plan(plan, shape)
    if weight is None or weight.row_splits is inp.row_splits:
        plan.form = "ragged"
        plan.ids = inp.values
        plan.indices = inp.row_splits
        plan.weights = None if weight is None else weight.values
        return _Plan(plan, shape)
    result = _dense_rows(plan, inp.to_tensor(), weight.to_tensor())
    return result if shape is None else dataclasses.replace(result, shape=shape)


def _plan(path: str, inp: Any, weight: Any, table: Any, feature: Any) -> _Plan | None:
    """None where TensorFlow's own ops must do it, or must say what is wrong."""
    values = inp if isinstance(inp, tf.Tensor) else inp.values
    if (
        values.dtype not in ID_TYPES
        or feature.table.combiner not in COMBINERS
        or (weight is not None and weight.dtype != tf.float32)
    ):
        return None
    plan = FusedFeature(
        name=path or feature.name or feature.table.name,
        table=table,
        form="dense",
        combiner=feature.table.combiner,
        ids=values,
    )
    if isinstance(inp, tf.SparseTensor):
        return _plan_sparse(plan, inp, weight, feature)
    if isinstance(inp, tf.RaggedTensor):
        return _plan_ragged(plan, inp, weight, feature)
    return _Plan(plan)


class TPUEmbeddingV0(tpu_embedding_v1.TPUEmbeddingV0):  # type: ignore[misc]
    """`tf.tpu.experimental.embedding.TPUEmbeddingV0` on the fused op.

    Arguments, results, errors and checkpoints are those of TensorFlow's class.
    On the virtual TPU all features of a call are looked up by one op, and so are
    their gradients; on a TPU this is TensorFlow's class.

    Example:

    >>> import tensorflow as tf, tf_embed
    >>> embedding = tf.tpu.experimental.embedding
    >>> table = embedding.TableConfig(vocabulary_size=4, dim=2)
    >>> strategy = tf.distribute.TPUStrategy(resolver)  # doctest: +SKIP
    >>> with strategy.scope():  # doctest: +SKIP
    ...     layer = tf_embed.TPUEmbeddingV0(
    ...         embedding.FeatureConfig(table=table), embedding.SGD(0.1))
    """

    def _stock_lookup(self, inp: Any, weight: Any, table: Any, feature: Any) -> Any:
        if isinstance(inp, tf.Tensor):
            return tf.nn.embedding_lookup(table, inp)
        if isinstance(inp, tf.SparseTensor):
            return self._embedding_lookup_for_sparse_tensor(inp, weight, table, feature)
        return self._embedding_lookup_for_ragged_tensor(inp, weight, table, feature)

    @not_converted
    def embedding_lookup(self, features: Any, weights: Any | None = None) -> Any:
        """Looks up all features in one op.

        Args:
          features: structure of `feature_config`; tensors, sparse tensors or
            ragged tensors of ids.
          weights: None, or a structure like `features`; None for features
            without weights.

        Returns:
          The activations, in the structure of `feature_config`.

        Raises:
          ValueError: features, weights and configuration do not fit together.
          tf.errors.InvalidArgumentError: an id is outside its table, or a sparse
            or ragged tensor is malformed.
        """
        if save_context.in_save_context() or not virtual_tpu.num_cores():
            return super().embedding_lookup(features, weights)
        tables = self.embedding_tables
        nest.assert_same_structure(features, self._feature_config)
        inputs = nest.flatten(features)
        flat_weights = [None] * len(inputs)
        if weights is not None:
            nest.assert_same_structure(features, weights)
            flat_weights = nest.flatten(weights)
        configs = nest.flatten_with_joined_string_paths(self._feature_config)
        outputs: list[Any] = []
        fused: list[tuple[int, _Plan]] = []
        for inp, weight, (path, feature) in zip(
            inputs, flat_weights, configs, strict=True
        ):
            check_input(path, inp, weight, feature)
            table = tables[feature.table]
            plan = _plan(path, inp, weight, table, feature)
            if plan is None:
                outputs.append(self._stock_lookup(inp, weight, table, feature))
            else:
                fused.append((len(outputs), plan))
                outputs.append(None)
        if fused:
            activations = fused_lookup([plan.feature for _, plan in fused])
            for (i, plan), activation in zip(fused, activations, strict=True):
                outputs[i] = plan.shaped(activation)
        return nest.pack_sequence_as(self._feature_config, outputs)

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Any]]) -> Any:
        """Updates tables with their own embedding optimizers, in place.

        To be called in `strategy.run`, where a Keras optimizer's would be. The
        gradients of all replicas are summed; then each replica updates its copy
        of the rows that some replica looked up, and of their slot variables, with
        the arithmetic of the TPU's optimizer.

        Args:
          grads_and_vars: pairs of a gradient and a variable of
            `embedding_tables`. Where the gradient is None, the table stays as it
            is.

        Returns:
          The operation.

        Raises:
          RuntimeError: outside of `strategy.run`, or a table has no optimizer or
            lacks a slot variable.
          ValueError: a variable is no table of this object.
        """
        replica = tf.distribute.get_replica_context()
        if replica is None:
            raise RuntimeError(
                "TPUEmbeddingV0.apply_gradients is to be called in strategy.run."
            )
        return update_tables(
            grads_and_vars,
            self.embedding_tables,
            lambda gradient, _: _summed_rows(replica, gradient),
            self._table_config,
            self._variables,
        )


def _summed_rows(replica: Any, gradient: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Rows that any replica has a gradient for, and the sum of the gradients."""
    if not isinstance(gradient, tf.IndexedSlices):
        gradient = tf.convert_to_tensor(gradient)
        total = replica.all_reduce(tf.distribute.ReduceOp.SUM, gradient)
        return tf.range(tf.shape(total)[0]), total
    if replica.num_replicas_in_sync == 1:
        return gradient.indices, gradient.values
    # Replicas have different numbers of rows, which a collective does not take.
    touched = tf.math.unsorted_segment_sum(
        tf.ones_like(gradient.indices, dtype=tf.float32),
        gradient.indices,
        gradient.dense_shape[0],
    )
    dense = tf.convert_to_tensor(gradient)
    total, touched = replica.all_reduce(tf.distribute.ReduceOp.SUM, [dense, touched])
    rows = tf.where(touched > 0)[:, 0]
    return rows, tf.gather(total, rows)
