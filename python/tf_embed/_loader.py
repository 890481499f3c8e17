"""Loads the plugin, once, into the TensorFlow that is running."""

import ctypes
import functools
import os

from tf_embed import _build_info

LIBRARY_NAME = "libtf_embed.so"


def _minor(version: str) -> tuple[str, ...]:
    return tuple(version.split(".")[:2])


def _built_for_other(found: str) -> ImportError:
    wanted = ".".join(_minor(_build_info.TF_VERSION))
    return ImportError(
        f"tf_embed was built for TensorFlow {_build_info.TF_VERSION}, found"
        f" {found}. Install tensorflow=={wanted}.*, or a tf_embed built for your"
        " TensorFlow."
    )


try:
    import tensorflow as tf
except ModuleNotFoundError as error:
    if error.name != "tensorflow":
        raise
    raise _built_for_other("none") from error


def _loaded_library() -> ctypes.CDLL:
    """OSError unless the plugin is loaded."""
    return ctypes.CDLL(LIBRARY_NAME, mode=os.RTLD_NOLOAD | os.RTLD_NOW)


def _already_loaded() -> bool:
    # TensorFlow loads what lies in tensorflow-plugins/ when it is imported.
    # A second copy of the library would register every kernel twice.
    try:
        _loaded_library()
    except OSError:
        return False
    return True


@functools.cache
def load() -> str:
    """Loads the plugin, which registers the kernels of the TPU embedding ops.

    `import tf_embed` has called it. Calling it again does nothing.

    Returns:
      The path of the library that belongs to this package.

    Raises:
      ImportError: the plugin was built for another minor version of
        TensorFlow, or the library is missing or cannot be loaded.

    Example:

    >>> import tf_embed
    >>> tf_embed.load().endswith("libtf_embed.so")
    True
    """
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), LIBRARY_NAME)
    # The C++ ABI changes with each minor version: look before loading.
    if _minor(tf.__version__) != _minor(_build_info.TF_VERSION):
        raise _built_for_other(tf.__version__)
    if _already_loaded():
        return path
    if not os.path.exists(path):
        raise ImportError(f"tf_embed is incomplete: there is no {path}")
    try:
        tf.load_op_library(path)
    except tf.errors.OpError as error:
        if "undefined symbol" in error.message:
            raise _built_for_other(f"{tf.__version__} ({error.message})") from error
        raise ImportError(f"tf_embed cannot load {path}: {error.message}") from error
    return path


@functools.cache
def library() -> ctypes.CDLL:
    """The loaded plugin, for its C functions."""
    load()
    return _loaded_library()
