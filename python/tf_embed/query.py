"""Asks an exported model from a terminal: `python -m tf_embed.query DIR ...`.

Without inputs, shows what the model takes, the variables that it reads and
whether TensorFlow's own ops or the fused one look up. With inputs, shows what it
answers and how long it took:

    python -m tf_embed.query /tmp/model
    python -m tf_embed.query /tmp/model 'ids=[3, 1, 2]' 'splits=[0, 2, 3]'
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

import tf_embed  # noqa: F401, so that models with our ops load

_RUNS = 20


def _describe(name: str, spec: Any) -> str:
    shape = ["?" if size is None else str(size) for size in spec.shape]
    return f"  {name}: {spec.dtype.name} [{', '.join(shape)}]"


def _describe_variable(variable: Any) -> str:
    size = np.prod(variable.shape.as_list()) * variable.dtype.size
    return (
        f"  {variable.name.removesuffix(':0')}: {variable.dtype.name}"
        f" {variable.shape.as_list()}, {size / 1e6:.4g} MB"
    )


def _ops(signature: Any) -> set[str]:
    graph = signature.graph.as_graph_def()
    functions = [node for f in graph.library.function for node in f.node_def]
    return {node.op for node in [*graph.node, *functions]}


def _show(signature: Any) -> None:
    print("inputs:")
    for name, spec in sorted(signature.structured_input_signature[1].items()):
        print(_describe(name, spec))
    print("outputs:")
    for name, spec in sorted(signature.structured_outputs.items()):
        print(_describe(name, spec))
    print("variables:")
    for variable in signature.variables:
        print(_describe_variable(variable))
    fused = "TfEmbed>FusedEmbeddingLookup" in _ops(signature)
    print("lookups:", "the fused op" if fused else "TensorFlow's own ops")


def _parse(argument: str, specs: dict[str, Any]) -> tuple[str, tf.Tensor]:
    name, separator, text = argument.partition("=")
    if not separator:
        raise SystemExit(f"'{argument}' is not NAME=VALUE")
    if name not in specs:
        raise SystemExit(f"no input '{name}'; there are {', '.join(sorted(specs))}")
    try:
        return name, tf.constant(json.loads(text), specs[name].dtype)
    except (ValueError, TypeError) as error:
        raise SystemExit(
            f"'{text}' is no JSON value of type {specs[name].dtype.name} for input"
            f" '{name}': {error}"
        ) from None


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m tf_embed.query", description="Asks an exported model."
    )
    parser.add_argument("model", help="folder of a SavedModel")
    parser.add_argument("inputs", nargs="*", metavar="NAME=JSON")
    parser.add_argument("--signature", default="serving_default")
    options = parser.parse_args(arguments)
    try:
        model = tf.saved_model.load(options.model)
    except (OSError, tf.errors.OpError) as error:
        raise SystemExit(f"cannot load {options.model}: {error}") from None
    if options.signature not in model.signatures:
        names = ", ".join(sorted(model.signatures)) or "none"
        raise SystemExit(f"no signature '{options.signature}'; there are: {names}")
    signature = model.signatures[options.signature]
    specs = signature.structured_input_signature[1]
    if not options.inputs:
        _show(signature)
        return
    inputs = dict(_parse(argument, specs) for argument in options.inputs)
    missing = sorted(specs.keys() - inputs.keys())
    if missing:
        raise SystemExit(f"missing input {', '.join(missing)}")
    try:
        outputs = signature(**inputs)
    except (tf.errors.OpError, TypeError, ValueError) as error:
        raise SystemExit(f"the model refuses: {error}") from None
    times = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        signature(**inputs)
        times.append(time.perf_counter() - start)
    for name, value in sorted(outputs.items()):
        print(f"{name}:")
        print(np.array2string(value.numpy(), precision=6, threshold=200))
    print(f"({np.median(times) * 1e3:.3f} ms, median of {_RUNS} calls)")


if __name__ == "__main__":
    main(sys.argv[1:])
