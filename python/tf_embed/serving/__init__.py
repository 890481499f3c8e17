"""TensorFlow's TPU embedding classes on a fused CPU kernel."""

from tf_embed.serving import _fused_lookup_gradient  # noqa: F401, registers it
from tf_embed.serving._for_serving import TPUEmbeddingForServing
from tf_embed.serving._lookup import serving_embedding_lookup
from tf_embed.serving._low_precision import LowPrecisionTable
from tf_embed.serving._quantize import (
    QuantizationReport,
    QuantizedEmbedding,
    TableReport,
    quantize,
)
from tf_embed.serving._v0 import TPUEmbeddingV0

__all__ = [
    "LowPrecisionTable",
    "QuantizationReport",
    "QuantizedEmbedding",
    "TPUEmbeddingForServing",
    "TPUEmbeddingV0",
    "TableReport",
    "quantize",
    "serving_embedding_lookup",
]
