"""Makes tf_embed/raw_ops.pyi from TensorFlow's op definitions.

PYTHONPATH=bazel-bin/python python tests/python/raw_ops_stub.py \\
    python/tf_embed/raw_ops.pyi
"""

import inspect
import pathlib
import subprocess
import sys

from tensorflow.python.framework import op_def_registry

from tf_embed import raw_ops

_HEADER = """\
# Written by tests/python/raw_ops_stub.py.

from collections.abc import Sequence
from typing import Any, TypeAlias

import tensorflow as tf

from tf_embed._config import Config

TensorLike: TypeAlias = Any

__all__: list[str]
"""

_ATTR_TYPES = {
    "bool": "bool",
    "int": "int",
    "list(int)": "Sequence[int]",
    "list(string)": "Sequence[str]",
    "string": "str | bytes",
    "type": "tf.DType",
}


def _argument_type(definition, name):
    if name == "name":
        return "str | None"
    if name in ("config", "tpu_embedding_config"):
        return "Config"
    for argument in definition.input_arg:
        if argument.name == name:
            return "Sequence[TensorLike]" if argument.number_attr else "TensorLike"
    (attr,) = [attr for attr in definition.attr if attr.name == name]
    return _ATTR_TYPES[attr.type]


def _return_type(definition):
    types = [
        "list[tf.Tensor]" if output.number_attr else "tf.Tensor"
        for output in definition.output_arg
    ]
    if not types:
        return "tf.Operation | None"
    return types[0] if len(types) == 1 else f"tuple[{', '.join(types)}]"


def stub() -> str:
    parts = [_HEADER]
    for op in raw_ops.__all__:
        definition = op_def_registry.get(op)
        arguments = "".join(
            f", {name}: {_argument_type(definition, name)}"
            + ("" if parameter.default is parameter.empty else " = ...")
            for name, parameter in inspect.signature(
                getattr(raw_ops, op)
            ).parameters.items()
        )
        parts.append(f"def {op}(*{arguments}) -> {_return_type(definition)}: ...")
    return subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--stdin-filename=x.pyi", "-"],
        input="\n".join(parts),
        capture_output=True,
        text=True,
        check=True,
    ).stdout


if __name__ == "__main__":
    pathlib.Path(sys.argv[1]).write_text(stub())
