"""TensorFlow's TPU embedding classes on a fused CPU kernel."""

from tf_embed.serving._for_serving import TPUEmbeddingForServing
from tf_embed.serving._lookup import serving_embedding_lookup

__all__ = ["TPUEmbeddingForServing", "serving_embedding_lookup"]
