"""The fused lookup op as a function of features."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python import pywrap_tfe
from tensorflow.python.framework import auto_control_deps_utils
from tensorflow.python.ops import resource_variable_ops

from tf_embed.serving import _own_ops
from tf_embed.serving._low_precision import LowPrecisionTable, storage_of

# In a function, lookups wait for updates of their tables, but not for each
# other, and none runs whose result nobody uses.
for _op in ("FusedEmbeddingLookup", "FusedEmbeddingLookupWeightsGrad"):
    auto_control_deps_utils.register_read_only_resource_op(f"TfEmbed>{_op}")


@dataclasses.dataclass
class FusedFeature:
    """One feature of a fused op; see the documentation of the op.

    Attributes:
      name: for error messages.
      table: float32 variable or tensor [V, D], or a LowPrecisionTable.
      form: how ids become output positions.
      combiner: "sum", "mean" or "sqrtn".
      sequence_length: of the sequence forms.
      ids: int32 or int64.
      indices: indices of a sparse, row splits of a ragged feature.
      dense_shape: of a sparse feature.
      weights: float32 [N], or None.
      weight_splits: row splits of the weights where they may be others than
        those of the ids.
      output_shape: shape that the activations get in the end, or None.
    """

    name: str
    table: Any
    form: str
    combiner: str
    ids: tf.Tensor
    sequence_length: int = 0
    indices: tf.Tensor | None = None
    dense_shape: tf.Tensor | None = None
    weights: tf.Tensor | None = None
    weight_splits: tf.Tensor | None = None
    output_shape: Sequence[int] | None = None

    def user_shaped(self, activations: tf.Tensor) -> tf.Tensor:
        """The op's output in the shape that the caller gets."""
        if self.output_shape is None:
            return activations
        return tf.reshape(activations, self.output_shape)

    def op_shaped(self, gradient: tf.Tensor) -> tf.Tensor:
        """The other way round, for a gradient."""
        if self.output_shape is None:
            return gradient
        rows = [-1] if self.form == "ragged" else [-1, self.sequence_length]
        return tf.reshape(gradient, [*rows, self.output_shape[-1]])


@dataclasses.dataclass
class FusedInputs:
    """Features as the arguments that all fused ops take.

    Attributes:
      tables: the distinct tables, in the order of their first use.
      tensors: the lists of tensors, by the name of the op's input.
      attributes: what else the op has to be told.
    """

    tables: list[Any]
    tensors: dict[str, list[tf.Tensor]]
    attributes: dict[str, Any]

    @classmethod
    def of(cls, features: Sequence[FusedFeature]) -> "FusedInputs":
        tables: list[Any] = []
        index: dict[int, int] = {}
        for feature in features:
            if id(feature.table) not in index:
                index[id(feature.table)] = len(tables)
                tables.append(feature.table)

        def given(name: str) -> list[Any]:
            values = [getattr(feature, name) for feature in features]
            return [value for value in values if value is not None]

        tensors = {
            "ids": [feature.ids for feature in features],
            "indices": given("indices"),
            "dense_shapes": given("dense_shape"),
            "weights": given("weights"),
            "weight_splits": given("weight_splits"),
        }
        attributes = {
            "table_shapes": [table.shape.as_list() for table in tables],
            "feature_tables": [index[id(feature.table)] for feature in features],
            "feature_names": [feature.name for feature in features],
            "forms": [feature.form for feature in features],
            "combiners": [feature.combiner for feature in features],
            "sequence_lengths": [feature.sequence_length for feature in features],
            "weighted": [feature.weights is not None for feature in features],
            "weights_have_splits": [
                feature.weight_splits is not None for feature in features
            ],
        }
        return cls(tables, tensors, attributes)


def _stored(table: Any) -> Any:
    """The variable or tensor that holds the rows."""
    return table.variable if isinstance(table, LowPrecisionTable) else table


def _read(table: Any) -> tf.Tensor:
    """The op's input for a table, which a tape sees as read."""
    table = _stored(table)
    if isinstance(table, tf.Tensor):
        return table
    resource_variable_ops.variable_accessed(table)
    return table.handle


def _table_formats(tables: Sequence[Any]) -> list[str]:
    formats = [storage_of(table) for table in tables]
    return formats if set(formats) != {"float32"} else []


def fused_lookup(features: Sequence[FusedFeature]) -> list[tf.Tensor]:
    """Looks up all features in one op; the activations of each."""
    inputs = FusedInputs.of(features)
    outputs = _own_ops.fused_embedding_lookup(
        tables=[_read(table) for table in inputs.tables],
        num_features=len(features),
        table_formats=_table_formats(inputs.tables),
        **inputs.tensors,
        **inputs.attributes,
    )
    return [
        feature.user_shaped(output)
        for feature, output in zip(features, outputs, strict=True)
    ]


class RepeatedLookup:
    """`fused_lookup` of features that differ in their tensors only.

    For eager mode. Tables must be variables or LowPrecisionTables, and no feature
    may have an output_shape.
    """

    def __init__(self, inputs: FusedInputs) -> None:
        self._variables = [_stored(table) for table in inputs.tables]
        self._watched = [x for x in self._variables if x.trainable]
        self._attributes = {
            **inputs.attributes,
            "num_features": len(inputs.tensors["ids"]),
            "table_formats": _table_formats(inputs.tables),
        }

    def __call__(self, tensors: Mapping[str, list[tf.Tensor]]) -> list[tf.Tensor]:
        # What resource_variable_ops.variable_accessed comes to in eager mode. It
        # asks for the distribution strategy first, which for 26 tables took 0.3 ms.
        for variable in self._watched:
            pywrap_tfe.TFE_Py_TapeVariableAccessed(variable)
            pywrap_tfe.TFE_Py_VariableWatcherVariableAccessed(variable)
        outputs: list[tf.Tensor] = _own_ops.fused_embedding_lookup(
            tables=[variable.handle for variable in self._variables],
            **tensors,
            **self._attributes,
        )
        return outputs
