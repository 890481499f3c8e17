"""The virtual TPU: TPUStrategy programs where there is no TPU.

Three ways to switch it on, all before TensorFlow's context starts:

* `TF_EMBED_VIRTUAL_TPU=8` in the environment, where the plugin is loaded when
  TensorFlow is (or the program imports `tf_embed`);
* `python -m tf_embed.run --cores 8 train.py ...`;
* `tf_embed.virtual_tpu.enable(num_cores=8)`.

Then `TPUClusterResolver(tpu="local")` finds it, and so does a resolver without a
name, unless `TPU_NAME` names another TPU.
"""

import ctypes
import functools
import operator
import os
from collections.abc import Callable
from typing import Any

from tensorflow.python.distribute.cluster_resolver.tpu import tpu_cluster_resolver
from tensorflow.python.eager import context

from tf_embed import _loader

__all__ = [
    "MAX_CORES",
    "enable",
    "map_tpu_names",
    "map_unnamed_tpu",
    "num_cores",
    "set_strict",
]

MAX_CORES = 64

_CORES_VARIABLE = "TF_EMBED_VIRTUAL_TPU"
_NAME_VARIABLE = "TPU_NAME"
_LOCAL_NAME = "local"
_FAILED_PRECONDITION = 9


def _context_started() -> bool:
    return bool(context.context()._initialized)


def num_cores() -> int:
    """The number of cores of the virtual TPU; 0 where it is off."""
    return int(_loader.library().TfEmbedVirtualTpuNumCores())


def enable(num_cores: int, *, strict: bool = False) -> None:
    """Switches the virtual TPU on, for the life of the process.

    Child processes inherit it through the environment.

    Args:
      num_cores: number of TPU devices, from 1 to 64.
      strict: warn, once and by name, of what a real TPU would refuse.

    Raises:
      TypeError: `num_cores` is no integer.
      ValueError: `num_cores` is out of range.
      RuntimeError: TensorFlow's context has started (an op has run, or devices
        were listed), or the virtual TPU is on with another number of cores.
    """
    library = _loader.library()
    try:
        num_cores = int(operator.index(num_cores))  # True, too, is a number
    except TypeError:
        raise TypeError(f"num_cores is {num_cores!r}, must be an integer") from None
    if not 1 <= num_cores <= MAX_CORES:
        raise ValueError(f"num_cores is {num_cores}, must be from 1 to {MAX_CORES}")
    if library.TfEmbedVirtualTpuNumCores() != num_cores and _context_started():
        raise RuntimeError(
            "virtual_tpu.enable() was called after TensorFlow's context had"
            " started: call it before the first op, or set"
            f" {_CORES_VARIABLE}={num_cores} in the environment"
        )
    message = ctypes.create_string_buffer(256)
    code = library.TfEmbedEnableVirtualTpu(num_cores, message, len(message))
    if code:
        kind = RuntimeError if code == _FAILED_PRECONDITION else ValueError
        raise kind(message.value.decode())
    os.environ[_CORES_VARIABLE] = str(num_cores)
    map_unnamed_tpu()
    if strict:
        set_strict(True)


def set_strict(strict: bool) -> None:
    """Whether to warn of what a real TPU would refuse (see docs/virtual_tpu.md)."""
    _loader.library().TfEmbedSetVirtualTpuStrict(int(strict))


@functools.cache
def map_unnamed_tpu() -> None:
    """Makes TPUClusterResolver find the virtual TPU where no TPU is named.

    That is where neither the program nor `TPU_NAME` names one, or the latter
    says "local": TensorFlow would ask Google Cloud. `enable` calls it, and
    `import tf_embed` where the environment has switched the virtual TPU on.
    """

    def is_virtual(tpu: str | None) -> bool:
        named = tpu or os.environ.get(_NAME_VARIABLE) or _LOCAL_NAME
        return named == _LOCAL_NAME

    _map_to_virtual(is_virtual)


@functools.cache
def map_tpu_names() -> None:
    """Makes TPUClusterResolver find the virtual TPU under every name.

    For programs that hard-code the name of a TPU. `python -m tf_embed.run`
    calls it. Calling it again does nothing.
    """
    _map_to_virtual(lambda tpu: True)


def _map_to_virtual(is_virtual: Callable[[str | None], bool]) -> None:
    resolver = tpu_cluster_resolver.TPUClusterResolver
    original: Callable[..., None] = resolver.__init__

    @functools.wraps(original)
    def init(self: Any, tpu: str | None = None, *args: Any, **kwargs: Any) -> None:
        original(self, _LOCAL_NAME if is_virtual(tpu) else tpu, *args, **kwargs)

    resolver.__init__ = init
