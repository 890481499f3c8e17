"""serving_embedding_lookup: TensorFlow's rules, one fused op."""

import math
import types
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from absl import logging
from tensorflow.python.ops import resource_variable_ops
from tensorflow.python.saved_model import save_context
from tensorflow.python.tpu import tpu_embedding_for_serving
from tensorflow.python.util import nest

from tf_embed._autograph import not_converted
from tf_embed.serving._fused_lookup import FusedFeature, fused_lookup
from tf_embed.serving._low_precision import LowPrecisionTable

ID_TYPES = (tf.int32, tf.int64)
COMBINERS = ("sum", "mean", "sqrtn")


def _fusible_table(table: Any) -> bool:
    if isinstance(table, LowPrecisionTable):
        return True
    if not isinstance(table, (tf.Tensor, resource_variable_ops.BaseResourceVariable)):
        return False
    if table.dtype != tf.float32 or table.shape.rank != 2:
        return False
    rows, dim = table.shape.as_list()
    return rows is not None and dim is not None and dim > 0


def _is_matrix(inp: tf.RaggedTensor) -> bool:
    # RaggedTensor.shape puts a new shape together: of a call with 26 features
    # that took 0.12 ms.
    return bool(inp.ragged_rank == 1 and inp.values.shape.rank == 1)


def check_input(path: str, inp: Any, weight: Any, feature: Any) -> None:
    """The errors that depend on types and configuration only."""
    if weight is not None:
        if isinstance(inp, tf.Tensor):
            raise ValueError(f"Weight specified for {path}, but input is dense.")
        if type(weight) is not type(inp):
            raise ValueError(
                f"Weight for {path} is of type {type(weight)} but it does not"
                f" match type of the input which is {type(inp)}."
            )
        if feature.max_sequence_length > 0:
            raise ValueError(
                f"Weight specified for {path}, but this is a sequence feature."
            )
    if isinstance(inp, tf.Tensor):
        if feature.max_sequence_length > 0:
            raise ValueError(
                f"Feature {path} is a sequence feature but a dense tensor was passed."
            )
    elif isinstance(inp, tf.RaggedTensor):
        if not _is_matrix(inp):
            raise ValueError(
                f"Only rank 2 ragged tensor is supported, but got rank {inp.shape.rank}"
            )
    elif not isinstance(inp, tf.SparseTensor):
        raise ValueError(
            f"Input {path} is type {type(inp)}. Tensor, SparseTensor or"
            " RaggedTensor expected."
        )


def _is_sparse_sequence(inp: tf.SparseTensor, feature: Any) -> bool:
    return (
        feature.max_sequence_length > 0
        and not feature.output_shape
        and inp.shape.rank in (None, 2)
    )


def _plan_sparse(
    path: str, inp: tf.SparseTensor, weight: Any, table: Any, feature: Any
) -> FusedFeature | None:
    rank = inp.shape.rank
    length = feature.max_sequence_length
    if _is_sparse_sequence(inp, feature):
        form = "sparse_sequence"
    else:
        if length > 0:
            logging.warning(
                "max_sequence_length of feature %s is ignored: its input has rank"
                " %s, not 2, or output_shape is set.",
                path,
                rank,
            )
            length = 0
        strict = not feature.validate_weights_and_indices
        form = "sparse" if strict and rank is not None and rank <= 2 else "sparse_safe"
    if weight is not None:
        pairs = [(inp.values, weight.values)]
        if form == "sparse":
            pairs += [
                (inp.indices, weight.indices),
                (inp.dense_shape, weight.dense_shape),
            ]
        if weight.values.dtype != tf.float32 or not all(
            a.shape.is_compatible_with(b.shape) for a, b in pairs
        ):
            return None
    return FusedFeature(
        name=path,
        table=table,
        form=form,
        combiner=feature.table.combiner,
        sequence_length=length,
        ids=inp.values,
        indices=inp.indices,
        dense_shape=inp.dense_shape,
        weights=None if weight is None else weight.values,
    )


def _plan_ragged(
    path: str, inp: tf.RaggedTensor, weight: Any, table: Any, feature: Any
) -> FusedFeature | None:
    plan = FusedFeature(
        name=path,
        table=table,
        form="ragged",
        combiner=feature.table.combiner,
        ids=inp.values,
        indices=inp.row_splits,
    )
    if feature.output_shape:
        rows = inp.shape[0]
        if rows == 0 or not feature.output_shape.is_fully_defined():
            return None
        if rows is None:
            raise ValueError(
                f"Feature {path} has an output_shape, so the number of rows of"
                " its ragged input must be known when the function is traced."
            )
        positions = math.prod(feature.output_shape)
        plan.output_shape = [*feature.output_shape, feature.table.dim]
        if positions > rows and positions % rows == 0:
            plan.form = "ragged_sequence"
            plan.sequence_length = positions // rows
        elif positions != rows:
            raise ValueError(
                "Output shape set in the FeatureConfig should be the factor of the"
                f" input data batch size. But instead got output shape"
                f" {feature.output_shape}, input data batch size {rows}"
            )
    elif feature.max_sequence_length > 0:
        plan.form = "ragged_sequence"
        plan.sequence_length = feature.max_sequence_length
    if weight is not None and plan.form == "ragged":
        if (
            weight.values.dtype != tf.float32
            or not _is_matrix(weight)
            or weight.row_splits.dtype != inp.row_splits.dtype
            # Uniform rows broadcast.
            or inp.uniform_row_length is not None
            or weight.uniform_row_length is not None
        ):
            return None
        plan.weights = weight.values
        if weight.row_splits is not inp.row_splits:
            plan.weight_splits = weight.row_splits
    return plan


def _plan(
    path: str, inp: Any, weight: Any, table: Any, feature: Any
) -> FusedFeature | None:
    """The input for the fused op; None where TensorFlow's own ops must do it.

    They do where the types are rare or the call is going to fail in a way that
    is best left to them.
    """
    ids = inp if isinstance(inp, tf.Tensor) else inp.values
    if (
        ids.dtype not in ID_TYPES
        or not _fusible_table(table)
        or feature.table.combiner not in COMBINERS
    ):
        return None
    if isinstance(inp, tf.SparseTensor):
        return _plan_sparse(path, inp, weight, table, feature)
    if isinstance(inp, tf.RaggedTensor):
        return _plan_ragged(path, inp, weight, table, feature)
    return FusedFeature(
        name=path,
        table=table,
        form="dense",
        combiner=feature.table.combiner,
        ids=inp,
    )


def match_features(
    inputs: Any, weights: Any, feature_config: Any
) -> list[tuple[str, Any, Any, Any]]:
    """(path, input, weight, FeatureConfig) of each input; ValueError if unfit."""
    flat_inputs = nest.flatten_with_joined_string_paths(inputs)
    flat_weights = [None] * len(flat_inputs)
    if weights is not None:
        nest.assert_same_structure(inputs, weights)
        flat_weights = nest.flatten(weights)
    features = dict(nest.flatten_with_joined_string_paths(feature_config))
    keys = {path for path, _ in flat_inputs}
    if not keys.issubset(features.keys()):
        raise ValueError(
            f"Inputs are not a subset of feature_config. Inputs keys are {keys},"
            f" but feature_config keys are {features.keys()}"
        )
    matched = []
    for (path, inp), weight in zip(flat_inputs, flat_weights, strict=True):
        check_input(path, inp, weight, features[path])
        matched.append((path, inp, weight, features[path]))
    return matched


def plan_features(
    matched: list[tuple[str, Any, Any, Any]], tables: Mapping[Any, Any]
) -> list[FusedFeature | None]:
    """How the fused op takes each input; None where it does not."""
    return [
        _plan(
            path or feature.name or feature.table.name or "",
            inp,
            weight,
            tables[feature.table],
            feature,
        )
        for path, inp, weight, feature in matched
    ]


def _stock_lookup(inp: Any, weight: Any, table: Any, feature: Any) -> Any:
    """The lookup of one feature by TensorFlow's own ops.

    One at a time: TensorFlow before 2.21 takes no subset of the features.
    """
    if isinstance(table, LowPrecisionTable):
        if isinstance(inp, tf.Tensor):
            return table.lookup(inp)
        rows, ids = table.compact(inp.values)
        table = rows
        if isinstance(inp, tf.RaggedTensor):
            inp = inp.with_values(ids)
        else:
            # The one place where TensorFlow insists on a variable.
            if _is_sparse_sequence(inp, feature):
                table = types.SimpleNamespace(read_value=lambda: rows)
            inp = tf.SparseTensor(inp.indices, ids, inp.dense_shape)
    (output,) = tpu_embedding_for_serving.cpu_embedding_lookup(
        [inp],
        None if weight is None else [weight],
        {feature.table: table},
        [feature],
    )
    return output


@not_converted
def serving_embedding_lookup(
    inputs: Any,
    weights: Any | None,
    tables: Mapping[Any, Any],
    feature_config: Any,
    *,
    fused_export: bool = False,
) -> Any:
    """Looks up features in tables, all in one op.

    Takes, returns and raises what
    `tf.tpu.experimental.embedding.serving_embedding_lookup` does, except that a
    ragged feature with an `output_shape` may also be looked up in a
    `tf.function`.

    Args:
      inputs: nested structure of tensors, sparse tensors and ragged tensors of
        int32 or int64 ids; a subset of `feature_config` by path.
      weights: None, or a structure like `inputs`; None for inputs without
        weights.
      tables: TableConfig to variable or tensor [V, D], or to what
        `embedding_tables` of a quantized object has.
      feature_config: nested structure of
        `tf.tpu.experimental.embedding.FeatureConfig`.
      fused_export: whether a SavedModel gets the fused op. It is then loaded
        only where tf_embed is; where `tf.saved_model.SaveOptions` has a namespace
        whitelist, "TfEmbed" must be on it. By default a SavedModel gets stock ops.

    Returns:
      The activations, in the structure of `inputs`.

    Raises:
      ValueError: inputs, weights and configuration do not fit together.
      tf.errors.InvalidArgumentError: an id is outside its table, or a sparse or
        ragged tensor is malformed.

    Example:

    >>> import tensorflow as tf, tf_embed
    >>> embedding = tf.tpu.experimental.embedding
    >>> table = embedding.TableConfig(vocabulary_size=3, dim=2, combiner="sum")
    >>> weights = tf.constant([[1., 2.], [3., 4.], [5., 6.]])
    >>> tf_embed.serving_embedding_lookup(
    ...     tf.ragged.constant([[0, 2], [1]]), None, {table: weights},
    ...     embedding.FeatureConfig(table=table)).numpy().tolist()
    [[6.0, 8.0], [3.0, 4.0]]
    """
    matched = match_features(inputs, weights, feature_config)
    stock_only = save_context.in_save_context() and not fused_export
    plans: list[FusedFeature | None] = (
        [None] * len(matched) if stock_only else plan_features(matched, tables)
    )
    fused = [plan for plan in plans if plan is not None]
    activations = iter(fused_lookup(fused) if fused else ())
    outputs = []
    for plan, (_, inp, weight, feature) in zip(plans, matched, strict=True):
        if plan is not None:
            outputs.append(next(activations))
        else:
            outputs.append(_stock_lookup(inp, weight, tables[feature.table], feature))
    return nest.pack_sequence_as(inputs, outputs)
