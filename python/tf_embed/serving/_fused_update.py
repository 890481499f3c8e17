"""The fused optimizer step as a function of features and their gradients."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf.tpu import tpu_embedding_configuration_pb2

from tf_embed.serving import _own_ops
from tf_embed.serving._fused_lookup import FusedFeature, FusedInputs


def _config(table_configs: Sequence[Any]) -> Any:
    """The optimizers of the tables, as the op takes them."""
    config = tpu_embedding_configuration_pb2.TPUEmbeddingConfiguration()
    for i, table in enumerate(table_configs):
        # Every table has a learning rate of its own: an argument of the op.
        tags = {table.optimizer.learning_rate: i}
        table._set_table_descriptor(config.table_descriptor.add(), 1, tags)
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
    return tf.cast(rate() if callable(rate) else rate, tf.float32)


def fused_update(
    features: Sequence[FusedFeature],
    gradients: Sequence[tf.Tensor],
    table_configs: Sequence[Any],
    variables: Mapping[str, Mapping[str, Any]],
) -> Any:
    """One step of each table's own optimizer on the tables of `features`.

    Args:
      features: what was looked up; each in a table of `variables`.
      gradients: of the activations of each feature.
      table_configs: TableConfig of all tables.
      variables: table name to {"parameters" and slot name: variable}.

    Returns:
      The operation in graph mode, otherwise None.
    """
    inputs = FusedInputs.of(features)
    config_of = {
        id(variables[config.name]["parameters"]): config for config in table_configs
    }
    configs = [config_of[id(table)] for table in inputs.tables]
    slots = [
        slot for config in configs for slot in _slots(config, variables[config.name])
    ]
    return _own_ops.fused_embedding_update(
        tables=[table.handle for table in inputs.tables],
        slots=[slot.handle for slot in slots],
        gradients=gradients,
        learning_rates=[_learning_rate(config) for config in configs],
        config=_config(configs),
        **inputs.tensors,
        **inputs.attributes,
    )


def update_tables(
    grads_and_vars: Iterable[tuple[Any, Any]],
    tables: Mapping[Any, Any],
    rows_of: Callable[[Any, Any], tuple[tf.Tensor, tf.Tensor]],
    table_configs: Sequence[Any],
    variables: Mapping[str, Mapping[str, Any]],
) -> Any:
    """`fused_update` for gradients of whole tables.

    Args:
      grads_and_vars: pairs of a gradient, or None, and a table.
      tables: TableConfig to table, of all that may be updated.
      rows_of: gives, for a gradient and its table, the rows that have a gradient
        and what it is.
      table_configs: as in `fused_update`.
      variables: as in `fused_update`.

    Returns:
      The operation in graph mode, otherwise None.

    Raises:
      ValueError: a variable is none of `tables`.
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
    return fused_update(features, values, table_configs, variables)
