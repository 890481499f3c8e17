"""Puts our classes in place of TensorFlow's, for TensorFlow's own tests.

To be imported before such a test, which then finds them where it looks for
TensorFlow's. The module itself stays as it is: its classes refer to each other
by its names.
"""

import sys
import types

import tensorflow as tf
from tensorflow.python import tpu
from tensorflow.python.tpu import tpu_embedding_for_serving

import tf_embed

_OURS = {
    "TPUEmbeddingForServing": tf_embed.TPUEmbeddingForServing,
    "cpu_embedding_lookup": tf_embed.serving_embedding_lookup,
}

substitute = types.ModuleType(tpu_embedding_for_serving.__name__)
substitute.__dict__.update(tpu_embedding_for_serving.__dict__, **_OURS)
sys.modules[substitute.__name__] = substitute
tpu.tpu_embedding_for_serving = substitute
tf.tpu.experimental.embedding.TPUEmbeddingForServing = tf_embed.TPUEmbeddingForServing
