"""The TPU embedding ops, hidden ones included, as tf.raw_ops would offer them.

Keyword-only functions with TensorFlow's signatures. `config` may be a
TPUEmbeddingConfiguration, serialized or not, and is checked before the op is
built: a feature whose table does not exist would end the process in
TensorFlow's own shape function.

>>> import tf_embed
>>> from tensorflow.core.protobuf.tpu import tpu_embedding_configuration_pb2
>>> config = tpu_embedding_configuration_pb2.TPUEmbeddingConfiguration()
>>> config.feature_descriptor.add(name="user", table_id=3).input_shape.append(8)
>>> tf_embed.raw_ops.RecvTPUEmbeddingActivations(num_outputs=1, config=config)
Traceback (most recent call last):
...
ValueError: config: feature 'user' at position 0 has table_id 3, outside [0, 0)
"""

from tf_embed import _loader, _raw_op_docs, _raw_op_wrappers

_loader.load()  # defines the ops that this TensorFlow lacks
_ops = _raw_op_wrappers.wrap_all(_raw_op_docs.OPS)
globals().update(_ops)

__all__ = sorted(_ops)
