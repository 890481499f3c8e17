"""Compiles StableHLO for TPU generations, in a process of its own.

    python -I _tpu_compile_worker.py REQUEST RESULTS

Runs under the interpreter that has jax and libtpu, so it imports neither
TensorFlow nor tf_embed. REQUEST is a JSON list of jobs
``{"key", "module", "topology", "want_hlo"}``, where module is the path of a
StableHLO text. One JSON line per finished job is appended to RESULTS at once:
should the compiler abort the process, the caller sees how far it came.
"""

import json
import sys
import typing

import jax  # noqa: F401  (registers the plug-in that finds libtpu)
import numpy as np
from jax._src.interpreters import mlir
from jax._src.lib import xla_client
from jax._src.lib.mlir import ir
from jax.experimental import topologies


def _drop_copies(module: ir.Module) -> None:
    """Removes mhlo.copy, which the compiler's front end does not take.

    TensorFlow returns a variable that is also read through one; where a copy
    is needed the compiler makes it itself.
    """

    def visit(op: ir.Operation) -> ir.WalkResult:
        if op.name == "mhlo.copy":
            op.results[0].replace_all_uses_with(op.operands[0])
            op.erase()
        return ir.WalkResult.ADVANCE

    module.operation.walk(visit)


def _compile(job: dict[str, typing.Any]) -> dict[str, typing.Any]:
    """One job's result; only the compiler's own refusal is an "error"."""
    topology = topologies.get_topology_desc(
        platform="tpu", topology_name=job["topology"]
    )
    device = topology.devices[0]
    options = xla_client.CompileOptions()
    options.num_replicas = 1
    options.num_partitions = 1
    options.device_assignment = xla_client.DeviceAssignment.create(
        np.array([[device.id]])
    )
    result: dict[str, typing.Any] = {"device_kind": device.device_kind}
    with open(job["module"], encoding="utf-8") as file, mlir.make_ir_context():
        module = ir.Module.parse(file.read())
        _drop_copies(module)
        try:
            executable = device.client.compile(
                module, xla_client._xla.DeviceList((device,)), options
            )
        except jax.errors.JaxRuntimeError as error:
            return {**result, "error": str(error)}
    stats = executable.get_compiled_memory_stats()
    result["cost"] = {
        name: float(value) for name, value in executable.cost_analysis().items()
    }
    result["memory"] = {
        name: getattr(stats, name + "_size_in_bytes")
        for name in ("argument", "output", "alias", "temp", "generated_code")
    }
    if job["want_hlo"]:
        try:
            result["hlo"] = executable.hlo_modules()[0].to_string()
        except jax.errors.JaxRuntimeError as error:
            # jax can't read back some programs: asynchronous scatters, say.
            result["hlo"] = f"// not available: {error}"
    return result


def main(request: str, results: str) -> None:
    with open(request, encoding="utf-8") as file:
        jobs = json.load(file)
    with open(results, "a", encoding="utf-8") as out:
        for job in jobs:
            try:
                result = _compile(job)
            except Exception as error:  # reported to the caller, who raises
                result = {"failure": f"{type(error).__name__}: {error}"}
            out.write(json.dumps({"key": job["key"], **result}) + "\n")
            out.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
