"""Feature configurations as plain data, for Keras' get_config."""

import inspect
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.ops import init_ops_v2
from tensorflow.python.util import nest

_embedding = tf.tpu.experimental.embedding
_OPTIMIZERS = {
    cls.__name__: cls
    for cls in (
        _embedding.SGD,
        _embedding.Adagrad,
        _embedding.AdagradMomentum,
        _embedding.FTRL,
        _embedding.Adam,
    )
}
_PLAIN = (bool, int, float, str, type(None))


class Serializer:
    """Turns configurations into JSON values and back.

    Args:
      serialize: Keras' serialize_keras_object, for callables that Keras knows.
      deserialize: its inverse.
    """

    def __init__(
        self, serialize: Callable[[Any], Any], deserialize: Callable[[Any], Any]
    ) -> None:
        self._serialize = serialize
        self._deserialize = deserialize

    def _pack_callable(self, what: str, value: Any) -> Any:
        if isinstance(value, _embedding.RowIdInitializer):
            return {"row_id_offset": value.offset}
        if isinstance(value, init_ops_v2.Initializer):
            name = type(value).__name__
            if getattr(init_ops_v2, name, None) is type(value):
                return {"tensorflow": name, "config": value.get_config()}
        try:
            return {"keras": self._serialize(value)}
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"{what} is {value!r}, which has no get_config and is not"
                " registered with Keras, so that it cannot be saved."
            ) from error

    def _unpack_callable(self, data: Any) -> Any:
        if "row_id_offset" in data:
            return _embedding.RowIdInitializer(data["row_id_offset"])
        if "tensorflow" in data:
            return getattr(init_ops_v2, data["tensorflow"]).from_config(data["config"])
        return self._deserialize(data["keras"])

    def pack_optimizer(self, optimizer: Any) -> Any:
        """An embedding optimizer, or None, as plain data."""
        if optimizer is None:
            return None
        name = type(optimizer).__name__
        if _OPTIMIZERS.get(name) is not type(optimizer):
            raise ValueError(
                f"{name} is no optimizer that can be saved; those are"
                f" {sorted(_OPTIMIZERS)}."
            )
        arguments = {}
        for argument in list(inspect.signature(type(optimizer).__init__).parameters)[
            1:
        ]:
            if argument == "clipvalue":
                limits = optimizer.clip_gradient_min, optimizer.clip_gradient_max
                value = None if limits == (None, None) else list(limits)
                arguments[argument] = value
                continue
            value = getattr(optimizer, argument)
            if not isinstance(value, _PLAIN):
                value = self._pack_callable(f"{name}.{argument}", value)
            arguments[argument] = value
        return {"name": name, "arguments": arguments}

    def unpack_optimizer(self, data: Any) -> Any:
        if data is None:
            return None
        arguments = dict(data["arguments"])
        for argument, value in arguments.items():
            if isinstance(value, dict):
                arguments[argument] = self._unpack_callable(value)
        if arguments.get("clipvalue") is not None:
            arguments["clipvalue"] = tuple(arguments["clipvalue"])
        return _OPTIMIZERS[data["name"]](**arguments)

    def _pack_table(self, table: Any, optimizer: Any) -> Any:
        if table.layout is not None or not isinstance(table.combiner, str):
            raise ValueError(
                f"Table {table.name} has a layout or a custom combiner, which"
                " cannot be saved."
            )
        quantization = table.quantization_config
        return {
            "vocabulary_size": table.vocabulary_size,
            "dim": table.dim,
            "initializer": self._pack_callable(
                f"initializer of table {table.name}", table.initializer
            ),
            "optimizer": None
            if table.optimizer is optimizer
            else self.pack_optimizer(table.optimizer),
            "combiner": table.combiner,
            "name": table.name,
            "quantization_config": quantization
            and [quantization.num_buckets, quantization.lower, quantization.upper],
        }

    def _unpack_table(self, data: Any) -> Any:
        quantization = data["quantization_config"]
        return _embedding.TableConfig(
            data["vocabulary_size"],
            data["dim"],
            initializer=self._unpack_callable(data["initializer"]),
            optimizer=self.unpack_optimizer(data["optimizer"]),
            combiner=data["combiner"],
            name=data["name"],
            quantization_config=quantization
            and _embedding.QuantizationConfig(*quantization),
        )

    def pack(self, feature_config: Any, optimizer: Any) -> dict[str, Any]:
        """A structure of FeatureConfig as plain data.

        Args:
          feature_config: dicts, lists and tuples of FeatureConfig; their tables
            have names.
          optimizer: of the tables that have none of their own.

        Raises:
          ValueError: something in it cannot be saved.
        """
        features = nest.flatten(feature_config)
        tables = {feature.table.name: feature.table for feature in features}
        order = nest.pack_sequence_as(feature_config, list(range(len(features))))
        return {
            "structure": _pack_structure(order),
            "features": [
                {
                    "table": feature.table.name,
                    "max_sequence_length": feature.max_sequence_length,
                    "validate_weights_and_indices": (
                        feature.validate_weights_and_indices
                    ),
                    "output_shape": feature.output_shape.as_list()
                    if feature.output_shape
                    else None,
                    "name": feature.name,
                }
                for feature in features
            ],
            "tables": [self._pack_table(table, optimizer) for table in tables.values()],
        }

    def unpack(self, data: Any) -> Any:
        """The structure of FeatureConfig that `pack` was given."""
        tables = {table["name"]: self._unpack_table(table) for table in data["tables"]}
        features = [
            _embedding.FeatureConfig(**{**feature, "table": tables[feature["table"]]})
            for feature in data["features"]
        ]
        return _unpack_structure(data["structure"], features)


def _pack_structure(structure: Any) -> Any:
    if isinstance(structure, dict):
        return {"dict": {k: _pack_structure(v) for k, v in structure.items()}}
    for kind in (list, tuple):
        if type(structure) is kind:
            return {kind.__name__: [_pack_structure(item) for item in structure]}
    if isinstance(structure, int):
        return structure
    raise ValueError(
        f"A feature_config with a {type(structure).__name__} cannot be saved; use"
        " dicts, lists and tuples."
    )


def _unpack_structure(data: Any, features: list[Any]) -> Any:
    if isinstance(data, int):
        return features[data]
    [(kind, content)] = data.items()
    if kind == "dict":
        return {key: _unpack_structure(item, features) for key, item in content.items()}
    items = [_unpack_structure(item, features) for item in content]
    return tuple(items) if kind == "tuple" else items
