"""Makes the functions of tf_embed.raw_ops from TensorFlow's op definitions."""

import inspect
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import op_def_pb2
from tensorflow.python.framework import _pywrap_python_op_gen, op_def_registry

from tf_embed import _config, _raw_op_docs

RawOp = Callable[..., Any]

_CONFIG_ARGUMENTS = ("config", "tpu_embedding_config")

# op: the arguments of which there must be one per activation. (A number, or a
# list of tensors.)
_PER_ACTIVATION = {
    "RecvTPUEmbeddingActivations": ("num_outputs",),
    "SendTPUEmbeddingGradients": ("inputs",),
    "XlaRecvTPUEmbeddingActivations": ("num_tables",),
    "XlaRecvTPUEmbeddingActivationsV2": ("num_tables",),
    "XlaSendTPUEmbeddingGradients": ("gradients",),
    "XlaSendTPUEmbeddingGradientsV2": ("gradients",),
}
_PER_TABLE = {
    "LoadAllTPUEmbeddingParameters": (
        "parameters",
        *(f"auxiliary{i}" for i in range(1, 8)),
    ),
    "RetrieveAllTPUEmbeddingParameters": ("NumTables",),
}


def _check_count(name: str, value: Any, expected: int, of_what: str) -> None:
    if isinstance(value, int):
        count, has = value, f"is {value}"
    elif isinstance(value, list | tuple):
        count, has = len(value), f"has {len(value)} entries"
    else:
        return  # TensorFlow says what it wants instead
    if count != expected:
        raise ValueError(f"{name} {has}, but the config has {expected} {of_what}")


def _check_counts(
    op: str, config: _config.ConfigSummary, arguments: dict[str, Any]
) -> None:
    for name in _PER_ACTIVATION.get(op, ()):
        _check_count(
            name,
            arguments.get(name),
            config.num_activations,
            config.activations_are,
        )
    for name in _PER_TABLE.get(op, ()):
        _check_count(name, arguments.get(name), len(config.table_names), "tables")
    if "learning_rates" in arguments:
        _check_count(
            "learning_rates",
            arguments["learning_rates"],
            len(config.dynamic_tags),
            "dynamic learning rate tags",
        )


def _paragraph(text: str, indent: str) -> str:
    return textwrap.fill(
        text, 80, initial_indent=indent, subsequent_indent=indent + "  "
    )


def _docstring(op: str, signature: inspect.Signature) -> str:
    summary, returns, raises = _raw_op_docs.OPS[op]
    lines = [summary, "", "Args:"]
    for name in signature.parameters:
        if name == "name":
            text = "str, name of the op (optional)."
        else:
            text = (
                _raw_op_docs.ARGUMENTS.get(f"{op}.{name}")
                or _raw_op_docs.ARGUMENTS[name]
            )
        lines.append(_paragraph(f"{name}: {text}", "  "))
    lines += ["", "Returns:", _paragraph(returns, "  ").replace("\n    ", "\n  ")]
    if raises:
        lines += ["", "Raises:", *(_paragraph(text, "  ") for text in raises)]
    if op in _raw_op_docs.NOTES:
        lines += ["", _paragraph("Note: " + _raw_op_docs.NOTES[op], "")]
    if op in _raw_op_docs.EXAMPLES:
        lines += ["", "Example:", "", _raw_op_docs.EXAMPLES[op]]
    return "\n".join(lines)


def _wrap(op: str, stock: RawOp) -> RawOp:
    parameters = [
        parameter.replace(
            kind=inspect.Parameter.KEYWORD_ONLY, annotation=inspect.Parameter.empty
        )
        for parameter in inspect.signature(stock).parameters.values()
    ]
    signature = inspect.Signature(parameters)
    config_argument = next(
        (name for name in _CONFIG_ARGUMENTS if name in signature.parameters), None
    )

    def raw_op(**arguments: Any) -> Any:
        config = arguments.get(config_argument) if config_argument else None
        if config_argument and config is not None:
            serialized = _config.serialize(config, config_argument)
            arguments[config_argument] = serialized
            # Empty is either a default or an error that the op names.
            if serialized:
                summary = _config.check(serialized, config_argument)
                _check_counts(op, summary, arguments)
        return stock(**arguments)

    raw_op.__name__ = raw_op.__qualname__ = op
    raw_op.__module__ = "tf_embed.raw_ops"
    raw_op.__doc__ = _docstring(op, signature)
    raw_op.__signature__ = signature  # type: ignore[attr-defined]
    return raw_op


def _generated(ops: Iterable[str]) -> dict[str, Any]:
    """What TensorFlow would offer for ops that it hides from tf.raw_ops."""
    definitions = op_def_pb2.OpList(
        op=[definition for op in ops if (definition := op_def_registry.get(op))]
    )
    # As tf.load_op_library does for the ops of a plugin.
    source = _pywrap_python_op_gen.GetPythonWrappers(definitions.SerializeToString())
    module: dict[str, Any] = {"__name__": "tf_embed._hidden_ops"}
    exec(source, module)
    return module


def wrap_all(ops: Iterable[str]) -> dict[str, RawOp]:
    """Keyword-only functions for those of `ops` that TensorFlow defines."""
    ops = list(ops)
    hidden = _generated(op for op in ops if not hasattr(tf.raw_ops, op))
    wrapped = {}
    for op in ops:
        stock = getattr(tf.raw_ops, op, None) or hidden.get(op)
        if stock is not None:
            wrapped[op] = _wrap(op, stock)
    return wrapped
