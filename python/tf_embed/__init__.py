"""TPU embedding ops on CPU.

Importing this package gives the TPU embedding ops of TensorFlow kernels for
CPU: `tf.raw_ops.RecvTPUEmbeddingActivations` and its family then run where
there is no TPU.
"""

from tf_embed._loader import load
from tf_embed._version import __version__

__all__ = [
    "__version__",
    "load",
]

load()
