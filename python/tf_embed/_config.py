"""Reads and checks TPU embedding configurations before an op sees them."""

import dataclasses
import functools
from typing import TypeAlias

from tensorflow.core.protobuf.tpu.tpu_embedding_configuration_pb2 import (
    TPUEmbeddingConfiguration,
)

# What the ops take as `config`.
Config: TypeAlias = TPUEmbeddingConfiguration | bytes | str


@dataclasses.dataclass(frozen=True)
class ConfigSummary:
    """What must be known of a configuration to build its ops.

    Attributes:
      table_names: one per table.
      tables_of_features: per feature its table; None in the table dialect,
        where the ops carry one tensor per table.
      dynamic_tags: the tags of dynamic learning rates and step counters.
    """

    table_names: tuple[str, ...]
    tables_of_features: tuple[int, ...] | None
    dynamic_tags: frozenset[int]

    @property
    def num_activations(self) -> int:
        """Outputs of Recv and inputs of Send."""
        if self.tables_of_features is None:
            return len(self.table_names)
        return len(self.tables_of_features)

    @property
    def activations_are(self) -> str:
        return "tables" if self.tables_of_features is None else "features"


def serialize(config: Config, argument: str = "config") -> bytes:
    """The bytes of a configuration given in any of the forms of `Config`."""
    if isinstance(config, bytes):
        return config
    if isinstance(config, str):
        # As TensorFlow turns a str into the bytes of a string attr.
        return config.encode("utf-8", "surrogateescape")
    if isinstance(config, TPUEmbeddingConfiguration):
        return bytes(config.SerializeToString(deterministic=True))
    raise TypeError(
        f"{argument} must be bytes, str or a TPUEmbeddingConfiguration, got"
        f" {type(config).__name__}"
    )


def parse(config: Config, argument: str = "config") -> TPUEmbeddingConfiguration:
    """Parses a configuration.

    Raises:
      ValueError: `config` is not a serialized TPUEmbeddingConfiguration.
      TypeError: `config` is of another type.
    """
    message = TPUEmbeddingConfiguration()
    try:
        message.ParseFromString(serialize(config, argument))
    except Exception as error:  # protobuf's DecodeError, which has many homes
        raise ValueError(
            f"Malformed {argument}: not a serialized TPUEmbeddingConfiguration"
            f" ({error})"
        ) from error
    return message


@functools.lru_cache(maxsize=64)
def check(serialized: bytes, argument: str = "config") -> ConfigSummary:
    """Parses a configuration, and checks what must be checked this early.

    The shape functions of TensorFlow end the process where a feature names a
    table that is not there. Everything else is checked when the engine is
    configured.

    Raises:
      ValueError: `serialized` does not parse, or a feature names a table that
        is not there.
    """
    config = parse(serialized, argument)
    num_tables = len(config.table_descriptor)
    for position, feature in enumerate(config.feature_descriptor):
        if not 0 <= feature.table_id < num_tables:
            raise ValueError(
                f"{argument}: feature '{feature.name}' at position {position} has"
                f" table_id {feature.table_id}, outside [0, {num_tables})"
            )
    tags = set()
    for table in config.table_descriptor:
        parameters = table.optimization_parameters
        if parameters.learning_rate.HasField("dynamic"):
            tags.add(parameters.learning_rate.dynamic.tag)
        if parameters.HasField("frequency_aware_adagrad"):
            tags.add(parameters.frequency_aware_adagrad.step_counter.tag)
    features = tuple(feature.table_id for feature in config.feature_descriptor)
    return ConfigSummary(
        table_names=tuple(table.name for table in config.table_descriptor),
        tables_of_features=features or None,
        dynamic_tags=frozenset(tags),
    )
