"""Calls ops of the family by name, hidden ones included; one program per test."""

import contextlib
import ctypes
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.python.eager import context, execute
from tensorflow.python.framework import op_def_library, op_def_registry

# The plugin's kernels are there after this.
import tf_embed  # noqa: F401
from tests.reference import cases
from tests.reference.optimizers import OPTIMIZERS

NUM_DEVICES = 8  # device CPU:i stands for core i


tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * NUM_DEVICES,
)


_DEFAULTS = {
    "int": lambda value: value.i,
    "string": lambda value: value.s,
    "bool": lambda value: value.b,
    "list(int)": lambda value: list(value.list.i),
    "list(string)": lambda value: list(value.list.s),
}


def _graph_op(name: str, kwargs: dict[str, Any]) -> Any:
    """In graphs every attribute must be given."""
    defaults = {
        attr.name: _DEFAULTS[attr.type](attr.default_value)
        for attr in op_def_registry.get(name).attr
        if attr.HasField("default_value") and attr.type in _DEFAULTS
    }
    counts = {a.number_attr for a in op_def_registry.get(name).input_arg}
    for count in counts:
        defaults.pop(count, None)
    return op_def_library.apply_op(name, **(defaults | kwargs))


def op(name: str, **kwargs: Any) -> Any:
    """The op's outputs: nothing, a tensor or list, or a list of them."""
    if not tf.executing_eagerly():
        return _graph_op(name, kwargs)
    op_def = op_def_registry.get(name)
    attrs = {a.name: kwargs[a.name] for a in op_def.attr if a.name in kwargs}
    inputs = []
    for arg in op_def.input_arg:
        values = kwargs[arg.name] if arg.number_attr else [kwargs[arg.name]]
        dtype = None if arg.type == types_pb2.DT_INVALID else tf.as_dtype(arg.type)
        tensors = [tf.convert_to_tensor(v, dtype) for v in values]
        if arg.number_attr:
            attrs[arg.number_attr] = len(tensors)
        if arg.type_attr and arg.type_attr not in attrs:
            attrs[arg.type_attr] = tensors[0].dtype.as_datatype_enum
        inputs += tensors
    sizes = [attrs[a.number_attr] if a.number_attr else None for a in op_def.output_arg]
    flat = execute.execute(
        name.encode(),
        sum(1 if size is None else size for size in sizes),
        inputs,
        tuple(part for item in attrs.items() for part in item),
        context.context(),
    )
    outputs, rest = [], list(flat or [])
    for size in sizes:
        outputs.append(rest[0] if size is None else rest[:size])
        rest = rest[1 if size is None else size :]
    return outputs[0] if len(outputs) == 1 else outputs


def library() -> ctypes.CDLL:
    """The plugin, as this process has loaded it, for its C functions."""
    with open("/proc/self/maps") as maps:
        path = next(line.split()[-1] for line in maps if "libtf_embed.so" in line)
    loaded = ctypes.CDLL(path)
    loaded.TfEmbed_SetRecvTimeoutSeconds.argtypes = [ctypes.c_double]
    loaded.TfEmbed_RecvTimeoutSeconds.restype = ctypes.c_double
    loaded.TfEmbed_DiscardBatches.restype = ctypes.c_int64
    return loaded


def on_core(core: int) -> Any:
    return tf.device(f"/CPU:{core}")


def configure(config: cases.Config) -> Any:
    return op("ConfigureTPUEmbedding", config=config.SerializeToString())


def recv(config: cases.Config, core: int = 0) -> list[Any]:
    with on_core(core):
        return op(
            "RecvTPUEmbeddingActivations",
            num_outputs=len(cases.activation_shapes(config)),
            config=config.SerializeToString(),
        )


def send(
    config: cases.Config,
    gradients: Sequence[Any],
    learning_rates: Sequence[Any] = (),
    core: int = 0,
) -> Any:
    with on_core(core):
        return op(
            "SendTPUEmbeddingGradients",
            inputs=gradients,
            learning_rates=learning_rates,
            config=config.SerializeToString(),
        )


def slots(table: Any) -> tuple[str, ...]:
    name = table.optimization_parameters.WhichOneof("parameters")
    return OPTIMIZERS[name].slots


def load(
    config: cases.Config,
    table: int,
    values: Sequence[Any],
    num_shards: int = 1,
    shard_id: int = 0,
) -> None:
    """`values`: [weights, *slots] of the shard, through the optimizer's op."""
    descriptor = config.table_descriptor[table]
    name = descriptor.optimization_parameters.WhichOneof("parameters")
    names = ("parameters", *OPTIMIZERS[name].slots)
    op(
        f"LoadTPUEmbedding{OPTIMIZERS[name].op_name}Parameters",
        **dict(zip(names, values, strict=True)),
        table_name=descriptor.name,
        num_shards=num_shards,
        shard_id=shard_id,
        config=config.SerializeToString(),
    )


def retrieve(
    config: cases.Config, table: int, num_shards: int = 1, shard_id: int = 0
) -> list[np.ndarray]:
    descriptor = config.table_descriptor[table]
    name = descriptor.optimization_parameters.WhichOneof("parameters")
    result = op(
        f"RetrieveTPUEmbedding{OPTIMIZERS[name].op_name}Parameters",
        table_id=table,
        num_shards=num_shards,
        shard_id=shard_id,
    )
    if not OPTIMIZERS[name].slots:
        result = [result]
    return [np.asarray(r) for r in result]


def accumulates(table: Any) -> bool:
    parameters = table.optimization_parameters
    return parameters.gradient_accumulation_status != 2  # DISABLED


def load_all(
    config: cases.Config,
    tables: Sequence[Sequence[np.ndarray]],
    num_shards: int = 1,
    shard_id: int = 0,
) -> None:
    """`tables`: [weights, *slots] of the shard for each table."""
    variables: list[list[np.ndarray]] = [[] for _ in range(8)]
    for descriptor, values in zip(config.table_descriptor, tables, strict=True):
        padded = list(values)
        if accumulates(descriptor):
            padded.append(np.zeros_like(values[0]))
        padded += [np.zeros((0, 0), np.float32)] * (8 - len(padded))
        for i, value in enumerate(padded):
            variables[i].append(value)
    op(
        "LoadAllTPUEmbeddingParameters",
        parameters=variables[0],
        **{f"auxiliary{i}": variables[i] for i in range(1, 8)},
        config=config.SerializeToString(),
        num_shards=num_shards,
        shard_id=shard_id,
    )


def retrieve_all(
    config: cases.Config, num_shards: int = 1, shard_id: int = 0
) -> list[list[np.ndarray]]:
    """All eight state variables of each table."""
    outputs = op(
        "RetrieveAllTPUEmbeddingParameters",
        NumTables=len(config.table_descriptor),
        config=config.SerializeToString(),
        num_shards=num_shards,
        shard_id=shard_id,
    )
    return [
        [np.asarray(outputs[i][t]) for i in range(8)]
        for t in range(len(config.table_descriptor))
    ]


def tables_of(config: cases.Config) -> list[list[np.ndarray]]:
    """[weights, *slots] of each table."""
    return [
        values[: 1 + len(slots(descriptor))]
        for descriptor, values in zip(
            config.table_descriptor, retrieve_all(config), strict=True
        )
    ]


@contextlib.contextmanager
def raises(error: type[Exception], *texts: str) -> Iterator[None]:
    """The error, whose message has all the texts."""
    try:
        yield
    except error as raised:
        for text in texts:
            assert text in str(raised), f"{text!r} is not in {raised}"
        return
    raise AssertionError(f"{error.__name__} was not raised")
