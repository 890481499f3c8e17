"""XLA: what compiled TensorFlow costs on a TPU, found out without one."""

from tf_embed.xla._tpu_compiler import TpuCompilerNotFoundError
from tf_embed.xla._tpu_cost import (
    TPU_TOPOLOGIES,
    TpuCost,
    TpuMemory,
    stablehlo,
    tpu_cost,
    tpu_costs,
)

__all__ = [
    "TPU_TOPOLOGIES",
    "TpuCompilerNotFoundError",
    "TpuCost",
    "TpuMemory",
    "stablehlo",
    "tpu_cost",
    "tpu_costs",
]
