"""What a TensorFlow function costs on a TPU, asked of the TPU's compiler."""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import math
import re
import typing

import numpy as np
import tensorflow as tf

from tf_embed import _loader
from tf_embed.xla import _tpu_compiler

# One topology of each generation that libtpu compiles for, oldest first.
TPU_TOPOLOGIES = {
    "v2": "v2:2x2",
    "v3": "v3:2x2",
    "v4": "v4:2x2x1",
    "v5e": "v5e:2x2",
    "v5p": "v5p:2x2x1",
    "v6e": "v6e:2x2",
}


@dataclasses.dataclass(frozen=True)
class TpuMemory:
    """Device memory of a compiled program, in bytes by class of buffer.

    Attributes:
      argument: Inputs and variables.
      output: Results and new values of variables.
      alias: Part of `output` that is written in place of an argument.
      temp: Intermediate values, at their peak.
      generated_code: The program itself.
    """

    argument: int
    output: int
    alias: int
    temp: int
    generated_code: int

    @property
    def total(self) -> int:
        """What must fit into the device's memory while the program runs."""
        return (
            self.argument + self.output - self.alias + self.temp + self.generated_code
        )


@dataclasses.dataclass(frozen=True)
class TpuCost:
    """The TPU compiler's answer for one function on one generation.

    Attributes:
      topology: As asked for, "v5e:2x2".
      device_kind: As the compiler calls it, "TPU v5 lite"; empty where the
        compiler died.
      error: Why it does not compile, in the compiler's words; None where it
        does.
      seconds: The compiler's estimate for one run on one core. Operations
        that it can't judge (prefetches, some dynamic ones) count as nothing,
        the body of a while loop may count once, whatever its trip count.
      flops: Floating-point operations.
      bytes_accessed: Bytes read and written by all operations.
      memory: Device memory by class of buffer; None where it does not
        compile.
      optimized_hlo: The program after all passes, where it was asked for.
    """

    topology: str
    device_kind: str
    error: str | None = None
    seconds: float = float("nan")
    flops: float = float("nan")
    bytes_accessed: float = float("nan")
    memory: TpuMemory | None = None
    optimized_hlo: str | None = None

    @property
    def ok(self) -> bool:
        """Whether it compiles."""
        return self.error is None


def _is_array(value: typing.Any) -> bool:
    return isinstance(
        value, (tf.TensorSpec, tf.Tensor, tf.Variable, np.ndarray, np.generic)
    )


def _spec(value: typing.Any) -> tf.TensorSpec:
    if isinstance(value, tf.TensorSpec):
        return value
    return tf.TensorSpec(value.shape, tf.as_dtype(value.dtype))


# Numbers of LoweringTarget.
_LOWERING_TARGETS = {"tpu": 1, "gpu": 2}


@contextlib.contextmanager
def lowered_for(target: str) -> collections.abc.Iterator[None]:
    """What is compiled for the CPU in it is built as for a "tpu" or "gpu"."""
    library = _loader.library()
    number = _LOWERING_TARGETS[target]
    library.TfEmbed_LowerFor(number, 1)
    try:
        yield
    finally:
        library.TfEmbed_LowerFor(number, 0)


# On a TPU these are what libtpu makes of them once its system is initialised; what
# they are on a CPU says nothing about it.
_ENGINE_OP = re.compile("(Xla)?(Recv|Send)TPUEmbedding|ComputeDedupData")


def _refuse_engine_ops(graph: typing.Any) -> None:
    definition = graph.as_graph_def()
    nodes = list(definition.node)
    for function in definition.library.function:
        nodes += function.node_def
    for node in nodes:
        if _ENGINE_OP.match(node.op):
            raise ValueError(
                f"the function calls {node.op}: what the ops of the embedding engine"
                " are on a TPU only an initialised TPU system can say, so they have no"
                " cost without one. Leave them out: give their activations as"
                " arguments"
            )


def stablehlo(
    fn: collections.abc.Callable[..., typing.Any],
    /,
    *args: typing.Any,
    **kwargs: typing.Any,
) -> str:
    """Returns the StableHLO text of a TensorFlow function.

    Args:
      fn: A tf.function, a concrete function (a signature of a SavedModel, say)
        or a Python function of TensorFlow operations. It need not be marked
        jit_compile.
      *args: Its arguments: tensors, values or tf.TensorSpec of static shape.
      **kwargs: Likewise, by name.

    Raises:
      ValueError: TensorFlow can't compile it: a dynamic shape, an operation
        without an XLA kernel; with TensorFlow's text. Or it calls the embedding
        engine.
    """
    leaves = tf.nest.flatten((args, kwargs), expand_composites=True)
    specs = {i: _spec(leaf) for i, leaf in enumerate(leaves) if _is_array(leaf)}
    for spec in specs.values():
        if spec.dtype in (tf.string, tf.resource, tf.variant):
            raise ValueError(
                f"argument '{spec.name}' is of type {spec.dtype.name}; a TPU program"
                " takes numbers"
            )
        if not spec.shape.is_fully_defined():
            raise ValueError(
                f"argument '{spec.name}' has shape {spec.shape}; a TPU program "
                "needs static shapes"
            )

    # Only a function marked jit_compile shows its IR, and only one whose
    # arguments are all tensors.
    def call(*tensors: tf.Tensor) -> typing.Any:
        for i, tensor in zip(specs, tensors, strict=True):
            leaves[i] = tensor
        inner_args, inner_kwargs = tf.nest.pack_sequence_as(
            (args, kwargs), leaves, expand_composites=True
        )
        return fn(*inner_args, **inner_kwargs)

    compiled = tf.function(call, jit_compile=True, autograph=False)
    _refuse_engine_ops(compiled.get_concrete_function(*specs.values()).graph)
    try:
        ir = compiled.experimental_get_compiler_ir(*specs.values())
        with lowered_for("tpu"):
            return typing.cast(str, ir(stage="stablehlo", platform_name="CPU"))
    except tf.errors.OpError as error:
        # Without TensorFlow's stack of where the op was made.
        message = error.message.partition("\nThe op is created at")[0]
        raise ValueError(message) from error


def _answer(topology: str, result: dict[str, typing.Any]) -> TpuCost:
    kind = result.get("device_kind", "")
    if "error" in result:
        return TpuCost(topology, kind, error=result["error"])
    cost = result["cost"]
    nan = float("nan")
    seconds = cost.get("optimal_seconds", nan)
    # Each operation that the compiler can't judge (a prefetch, say) counts as
    # -1 s. No program of interest takes a second, so they can be told apart.
    if seconds < 0:
        seconds += math.ceil(-seconds)
    return TpuCost(
        topology,
        kind,
        seconds=seconds,
        flops=cost.get("flops", nan),
        bytes_accessed=cost.get("bytes accessed", nan),
        memory=TpuMemory(**result["memory"]),
        optimized_hlo=result.get("hlo"),
    )


def tpu_costs_of_modules(
    modules: collections.abc.Mapping[str, str],
    topologies: collections.abc.Sequence[str],
    *,
    want_hlo: bool = False,
    timeout_s: float = 600.0,
) -> dict[str, dict[str, TpuCost]]:
    """Compiles StableHLO texts for topologies, all in one process.

    Args:
      modules: Texts by name.
      topologies: As libtpu spells them.
      want_hlo: Fill in `TpuCost.optimized_hlo`.
      timeout_s: Seconds for the whole.

    Returns:
      By module name, then by topology.

    Raises:
      ValueError: the name of a topology is empty.
    """
    if not all(topologies):
        raise ValueError(
            "a topology is empty; libtpu spells them as "
            f"{', '.join(TPU_TOPOLOGIES.values())}"
        )
    keys = [(name, topology) for name in modules for topology in topologies]
    results = _tpu_compiler.compile_modules(
        [_tpu_compiler.Job(modules[name], topo, want_hlo) for name, topo in keys],
        timeout_s=timeout_s,
    )
    costs: dict[str, dict[str, TpuCost]] = {name: {} for name in modules}
    for (name, topology), result in zip(keys, results, strict=True):
        costs[name][topology] = _answer(topology, result)
    return costs


def tpu_costs(
    fn: collections.abc.Callable[..., typing.Any],
    /,
    *args: typing.Any,
    topologies: collections.abc.Sequence[str] = tuple(TPU_TOPOLOGIES.values()),
    want_hlo: bool = False,
    timeout_s: float = 600.0,
    **kwargs: typing.Any,
) -> dict[str, TpuCost]:
    """Like `tpu_cost`, for several TPU generations in one process.

    Returns:
      `TpuCost` by topology, in the order asked for.
    """
    return tpu_costs_of_modules(
        {"fn": stablehlo(fn, *args, **kwargs)},
        topologies,
        want_hlo=want_hlo,
        timeout_s=timeout_s,
    )["fn"]


def tpu_cost(
    fn: collections.abc.Callable[..., typing.Any],
    /,
    *args: typing.Any,
    topology: str = "v5e:2x2",
    want_hlo: bool = False,
    timeout_s: float = 600.0,
    **kwargs: typing.Any,
) -> TpuCost:
    """Compiles a function for a TPU, with no TPU present.

    The function is traced here, then compiled by libtpu in a process of its
    own for one core of the topology. Nothing is run.

    Args:
      fn: A tf.function, a concrete function or a Python function of TensorFlow
        operations. It need not be marked jit_compile.
      *args: Its arguments: tensors, values or tf.TensorSpec of static shape.
      topology: Generation and shape, as libtpu spells it: `TPU_TOPOLOGIES` has
        one for each generation.
      want_hlo: Fill in `TpuCost.optimized_hlo`.
      timeout_s: Seconds after which the compiler is given up; that is an error of
        the answer.
      **kwargs: Arguments of `fn` by name.

    Returns:
      A `TpuCost`; look at `ok` or `error` for whether it compiles.

    Raises:
      TpuCompilerNotFoundError: jax or libtpu is not installed.
      ValueError: TensorFlow can't compile it for any device: a dynamic shape,
        an operation without an XLA kernel. Or it calls the embedding engine,
        or `topology` is empty.
      RuntimeError: libtpu does not know the topology, or could not start.

    Example:
      >>> x = tf.TensorSpec([128, 128])
      >>> cost = tpu_cost(tf.matmul, x, x, topology="v4:2x2x1")
      >>> cost.ok, cost.device_kind
      (True, 'TPU v4')
    """
    return tpu_costs(
        fn,
        *args,
        topologies=[topology],
        want_hlo=want_hlo,
        timeout_s=timeout_s,
        **kwargs,
    )[topology]
