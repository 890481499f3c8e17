"""Puts our classes in place of TensorFlow's, for TensorFlow's own tests.

To be imported before such a test, which then finds them where it looks for
TensorFlow's. Nothing here imports it: TensorFlow's tests are not part of this
repository. The module itself stays as it is: its classes refer to each other
by its names.
"""

import sys
import types

import tensorflow as tf
from tensorflow.python import tpu
from tensorflow.python.tpu import tpu_embedding_for_serving, tpu_embedding_v1

import tf_embed

_OURS = {
    tpu_embedding_for_serving: {
        "TPUEmbeddingForServing": tf_embed.TPUEmbeddingForServing,
        "cpu_embedding_lookup": tf_embed.serving_embedding_lookup,
    },
    tpu_embedding_v1: {"TPUEmbeddingV0": tf_embed.TPUEmbeddingV0},
}

for module, ours in _OURS.items():
    substitute = types.ModuleType(module.__name__)
    substitute.__dict__.update(module.__dict__, **ours)
    sys.modules[substitute.__name__] = substitute
    setattr(tpu, module.__name__.rpartition(".")[2], substitute)
tf.tpu.experimental.embedding.TPUEmbeddingForServing = tf_embed.TPUEmbeddingForServing
tf.tpu.experimental.embedding.TPUEmbeddingV0 = tf_embed.TPUEmbeddingV0
