"""Python functions of the plugin's own ops, made as load_op_library makes them.

The plugin may have been loaded by TensorFlow itself, at its import, so there is
no module that load_op_library returned; loading the library once more from
another path would register its kernels twice.
"""

import types
from typing import Any

from tensorflow.core.framework import op_def_pb2
from tensorflow.python.framework import _pywrap_python_op_gen, op_def_registry

from tf_embed import _loader

_OPS = (
    "TfEmbed>FusedEmbeddingLookup",
    "TfEmbed>FusedEmbeddingLookupGrad",
    "TfEmbed>FusedEmbeddingLookupWeightsGrad",
    "TfEmbed>FusedEmbeddingUpdate",
)


def _make_module() -> Any:
    _loader.load()
    definitions = op_def_pb2.OpList(op=[op_def_registry.get(op) for op in _OPS])
    source = _pywrap_python_op_gen.GetPythonWrappers(definitions.SerializeToString())
    module = types.ModuleType(__name__ + ".generated")
    exec(source, module.__dict__)  # noqa: S102, what load_op_library does
    return module


_module = _make_module()

fused_embedding_lookup = _module.tf_embed_fused_embedding_lookup
fused_embedding_lookup_grad = _module.tf_embed_fused_embedding_lookup_grad
fused_embedding_lookup_weights_grad = (
    _module.tf_embed_fused_embedding_lookup_weights_grad
)
fused_embedding_update = _module.tf_embed_fused_embedding_update
