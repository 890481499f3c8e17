"""The fused optimizer step as a function of features and their gradients."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf.tpu import tpu_embedding_configuration_pb2
from tensorflow.python.saved_model import save_context

from tf_embed.serving import _own_ops
from tf_embed.serving._fused_lookup import FusedFeature, FusedInputs


def _config(table_configs: Sequence[Any]) -> Any:
    """The optimizers of the tables, as the op takes them."""
    config = tpu_embedding_configuration_pb2.TPUEmbeddingConfiguration()
    for i, table in enumerate(table_configs):
        # Every learning rate is an argument of the op, a constant one too: TensorFlow
        # keeps an eager kernel, for good, for each config that it has seen.
        table = copy.copy(table)
        table.optimizer = copy.copy(table.optimizer)
        table.optimizer.learning_rate = 0.0
        descriptor = config.table_descriptor.add()
        table._set_table_descriptor(descriptor, 1, {})
        descriptor.optimization_parameters.learning_rate.dynamic.tag = i
    return config.SerializeToString()


def _slots(table: Any, variables: Mapping[str, Any]) -> list[Any]:
    if table.optimizer is None:
        raise RuntimeError(
            f"Table {table.name} has no optimizer: give the embedding object one, or"
            " update the table with a Keras optimizer."
        )
    names = table.optimizer._slot_names()
    missing = [name for name in names if name not in variables]
    if missing:
        raise RuntimeError(
            f"Table {table.name} has no slot variable {missing[0]!r}, which"
            f" {type(table.optimizer).__name__} needs."
        )
    return [variables[name] for name in names]


def _learning_rate(table: Any) -> tf.Tensor:
    rate = table.optimizer.learning_rate
    # Converted first: a cast leaves a float32 variable unread.
    rate = tf.convert_to_tensor(rate() if callable(rate) else rate)
    return tf.cast(rate, tf.float32)


class FusedUpdate:
    """One step of each table's own optimizer on the tables of `features`.

    To be created where the features were looked up. In the gradient of a branch or
    of a loop, TensorFlow takes no variables that the branch has not read.

    Args:
      features: what was looked up; each in a table of `variables`.
      table_configs: TableConfig of all tables.
      variables: table name to {"parameters" and slot name: variable}.
      fused_export: whether a SavedModel may get the op.

    Raises:
      RuntimeError: a table has no optimizer or lacks a slot variable, or this is
        traced for a SavedModel of stock ops.
    """

    def __init__(
        self,
        features: Sequence[FusedFeature],
        table_configs: Sequence[Any],
        variables: Mapping[str, Mapping[str, Any]],
        *,
        fused_export: bool = False,
    ) -> None:
        if save_context.in_save_context() and not fused_export:
            raise RuntimeError(
                "A SavedModel cannot hold the update of embedding tables in stock"
                " ops. Keep functions that train out of the object that is saved; or"
                " give TPUEmbeddingForServing fused_export=True, for programs that"
                " load tf_embed."
            )
        inputs = FusedInputs.of(features)
        config_of = {
            id(variables[config.name]["parameters"]): config for config in table_configs
        }
        configs = [config_of[id(table)] for table in inputs.tables]
        self._features = features
        self._configs = configs
        self._arguments = {
            "tables": [tf.convert_to_tensor(table.handle) for table in inputs.tables],
            "slots": [
                tf.convert_to_tensor(slot.handle)
                for config in configs
                for slot in _slots(config, variables[config.name])
            ],
            "learning_rates": [_learning_rate(config) for config in configs],
            **inputs.tensors,
            **inputs.attributes,
        }

    def __call__(self, gradients: Sequence[Any]) -> Any:
        """Takes the step.

        Args:
          gradients: of the activations of each feature.

        Returns:
          The operation in graph mode, otherwise None.

        Raises:
          ValueError: a gradient is not float32.
        """
        tensors = [tf.convert_to_tensor(gradient) for gradient in gradients]
        for feature, tensor in zip(self._features, tensors, strict=True):
            if tensor.dtype != tf.float32:
                raise ValueError(
                    f"The gradient of {feature.name} is {tensor.dtype.name}; it must"
                    " be float32."
                )
        return _own_ops.fused_embedding_update(
            gradients=tensors, config=_config(self._configs), **self._arguments
        )


def update_tables(
    grads_and_vars: Iterable[tuple[Any, Any]],
    tables: Mapping[Any, Any],
    rows_of: Callable[[Any, Any], tuple[tf.Tensor, tf.Tensor]],
    table_configs: Sequence[Any],
    variables: Mapping[str, Mapping[str, Any]],
    *,
    fused_export: bool = False,
) -> Any:
    """`FusedUpdate` for gradients of whole tables.

    Args:
      grads_and_vars: pairs of a gradient, or None, and a table.
      tables: TableConfig to table, of all that may be updated.
      rows_of: gives, for a gradient and its table, the rows that have a gradient
        and what it is.
      table_configs: as in `FusedUpdate`.
      variables: as in `FusedUpdate`.
      fused_export: as in `FusedUpdate`.

    Returns:
      The operation in graph mode, otherwise None.

    Raises:
      ValueError: a variable is none of `tables`, or a gradient is not float32.
    """
    names = {id(table): config.name for config, table in tables.items()}
    features = []
    values = []
    for gradient, table in grads_and_vars:
        if id(table) not in names:
            raise ValueError(
                f"{getattr(table, 'name', table)} is no table of this embedding object."
            )
        if gradient is None:
            continue
        rows, value = rows_of(gradient, table)
        features.append(
            FusedFeature(
                name=names[id(table)],
                table=table,
                form="dense",
                combiner="sum",
                ids=rows,
            )
        )
        values.append(value)
    if not features:
        return None
    update = FusedUpdate(features, table_configs, variables, fused_export=fused_export)
    return update(values)
