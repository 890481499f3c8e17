"""Says what this installation is made of: `python -m tf_embed.info`."""

import importlib.metadata
import os
import platform

import tensorflow as tf
from tensorflow.python.framework import kernels

from tf_embed import _build_info, _engine, _loader, _process, _version, raw_ops

__all__ = ["ops_without_kernel", "report"]


def ops_without_kernel(device: str = "CPU") -> list[str]:
    """Returns the ops of `tf_embed.raw_ops` that cannot run on a device.

    Args:
      device: str, a device type.

    Returns:
      Names of ops, none where all is well.

    Example:

    >>> from tf_embed import info
    >>> info.ops_without_kernel("CPU")
    []
    """
    return [
        op
        for op in raw_ops.__all__
        if not any(
            kernel.device_type == device
            for kernel in kernels.get_registered_kernels_for_op(op).kernel
        )
    ]


def _engine_state() -> str:
    stats = _process.stats()
    if not stats.configured:
        return "not configured"
    size = sum(table.table_bytes for table in stats.tables)
    return (
        f"{len(stats.tables)} tables, {size / 2**20:.1f} MiB,"
        f" {len(stats.queue_depth)} cores, {stats.steps_completed} steps"
    )


def report() -> str:
    """Returns versions, machine, settings and the state of the engine.

    Returns:
      Lines "name: value".

    Example:

    >>> from tf_embed import info
    >>> print(info.report())
    tf_embed: 0.1.0
    TensorFlow: ... (built for ...)
    ...
    """
    missing = ops_without_kernel()
    timeout = _process.recv_timeout()
    facts = {
        "tf_embed": _version.__version__,
        "TensorFlow": f"{tf.__version__} (built for {_build_info.TF_VERSION})",
        "protobuf": importlib.metadata.version("protobuf"),
        "Python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "instruction set": _engine.simd_target(),
        "library": _loader.load(),
        "ops with a kernel": f"{len(raw_ops.__all__) - len(missing)} of"
        f" {len(raw_ops.__all__)}"
        + (f", without: {', '.join(missing)}" if missing else ""),
        "wait for a batch": "no limit" if timeout is None else f"{timeout} s",
        "engine": _engine_state(),
    }
    return "\n".join(f"{name}: {value}" for name, value in facts.items())


if __name__ == "__main__":
    print(report())
