"""TPU embedding ops on CPU.

Importing this package gives the TPU embedding ops of TensorFlow kernels for
CPU: `tf.raw_ops.RecvTPUEmbeddingActivations` and its family then run where
there is no TPU.
"""

import importlib
from typing import TYPE_CHECKING, Any

# First, because it says which TensorFlow is missing.
from tf_embed._loader import load

# isort: split
from tf_embed import _activations_gradient, raw_ops, training, virtual_tpu
from tf_embed._process import (
    discard_batches,
    recv_timeout,
    set_prune_negative_ids,
    set_recv_timeout,
    shutdown,
    stats,
)
from tf_embed._stats_summary import write_stats_summary
from tf_embed._version import __version__
from tf_embed.engine_stats_pb2 import EngineStats
from tf_embed.serving import (
    QuantizedEmbedding,
    TPUEmbeddingForServing,
    TPUEmbeddingV0,
    quantize,
    serving_embedding_lookup,
)

if TYPE_CHECKING:
    from tf_embed import xla as xla
    from tf_embed._stats_callback import StatsCallback

__all__ = [
    "EngineStats",
    "QuantizedEmbedding",
    "StatsCallback",
    "TPUEmbeddingForServing",
    "TPUEmbeddingV0",
    "__version__",
    "discard_batches",
    "load",
    "quantize",
    "raw_ops",
    "recv_timeout",
    "serving_embedding_lookup",
    "set_prune_negative_ids",
    "set_recv_timeout",
    "shutdown",
    "stats",
    "training",
    "virtual_tpu",
    "write_stats_summary",
]


def __getattr__(name: str) -> Any:
    # What needs Keras, and what few need, is imported when it is used.
    if name == "StatsCallback":
        from tf_embed._stats_callback import StatsCallback

        return StatsCallback
    if name == "xla":
        return importlib.import_module("tf_embed.xla")
    raise AttributeError(f"module 'tf_embed' has no attribute '{name}'")


load()
_activations_gradient.register()
if virtual_tpu.num_cores():
    virtual_tpu.map_unnamed_tpu()
