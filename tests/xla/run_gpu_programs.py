"""Runs the programs of gpu_programs.py, which lie beside it.

    python3 run.py [BEGINNING OF A NAME]

Needs jax with a GPU, no TensorFlow. The exit status is 1 if a program gives
other numbers than the lowering for CPUs does on the CPU, or ours not the same
bits in each run.
"""

from __future__ import annotations

import json
import pathlib
import sys
import time
import typing

import jax
import numpy as np
from jax._src.interpreters import mlir
from jax._src.lib import xla_client
from jax._src.lib.mlir import ir

_FOLDER = pathlib.Path(__file__).parent
# Of the largest number, for sums in another order.
_TOLERANCE = 1e-5
_RUNS = 4  # that must give the same bits
_ROUNDS, _CALLS = 4, 20  # the best round counts, of so many calls


def _make(spec: dict[str, typing.Any], rng: np.random.Generator) -> np.ndarray:
    kind, shape = spec["kind"], spec["shape"]
    if kind == "normal":
        return rng.standard_normal(shape, np.float32)
    if kind == "positive":
        return rng.random(shape, np.float32) + np.float32(0.1)
    if kind == "ids":
        return rng.integers(0, spec["end"], shape, np.int32)
    if kind == "splits":
        inner = np.sort(rng.integers(0, spec["end"], shape[0] - 2))
        return np.array([0, *inner, spec["end"]], np.int32)
    assert kind == "indices", kind
    rows = np.sort(rng.integers(0, spec["end"], shape[0]))
    return np.stack([rows, np.arange(shape[0])], 1)


class _Program:
    """One program, compiled."""

    def __init__(self, stem: str, target: str, platform: str):
        self._device = jax.devices(platform)[0]
        client = self._device.client
        options = xla_client.CompileOptions()
        options.device_assignment = xla_client.DeviceAssignment.create(
            np.array([[self._device.id]])
        )
        text = (_FOLDER / f"{stem}.{target}.mlir").read_text()
        with mlir.make_ir_context():
            self._executable = client.compile_and_load(
                ir.Module.parse(text),
                xla_client._xla.DeviceList((self._device,)),
                options,
            )

    def put(self, inputs: list[np.ndarray]) -> list[jax.Array]:
        return [jax.device_put(value, self._device) for value in inputs]

    def call(self, inputs: list[jax.Array]) -> list[jax.Array]:
        outputs = self._executable.execute_sharded(inputs)
        return [shards[0] for shards in outputs.disassemble_into_single_device_arrays()]

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        return [np.asarray(value) for value in self.call(self.put(inputs))]

    def microseconds(self, inputs: list[np.ndarray], writes: int) -> float:
        """Of a call whose last `writes` inputs are what the one before returned."""
        arguments = self.put(inputs)
        times = []
        for _ in range(_ROUNDS):
            jax.block_until_ready(arguments)
            begin = time.perf_counter()
            for _ in range(_CALLS):
                outputs = self.call(arguments)
                if writes:
                    arguments = arguments[:-writes] + outputs
            jax.block_until_ready(outputs)
            times.append((time.perf_counter() - begin) / _CALLS)
        return min(times) * 1e6


def _check(case: dict[str, typing.Any], platform: str) -> bool:
    inputs_rng = np.random.default_rng(0)
    inputs = [_make(spec, inputs_rng) for spec in case["inputs"]]
    expected = _Program(case["stem"], "cpu", "cpu").run(inputs)
    good = True
    for target in case["targets"]:
        program = _Program(case["stem"], target, platform)
        runs = [program.run(inputs) for _ in range(_RUNS)]
        same_bits = all(
            np.array_equal(a, b)
            for run in runs[1:]
            for a, b in zip(runs[0], run, strict=True)
        )
        error = max(
            np.abs(got - want).max(initial=0) / max(np.abs(want).max(initial=0), 1)
            for got, want in zip(runs[0], expected, strict=True)
        )
        right = bool(error < _TOLERANCE and (same_bits or target == "stock"))
        good &= right
        line = f"{case['name']:34} {target:6} error {error:.0e}"
        line += "  same bits" if same_bits else "  OTHER BITS"
        if case["timed"]:
            line += f" {program.microseconds(inputs, case['writes']):9.1f} us"
        print(line, "" if right else "  WRONG", flush=True)
    return good


def main(beginning: str = "") -> int:
    jax.config.update("jax_enable_x64", True)
    platform = jax.default_backend()
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}", flush=True)
    cases = [
        case
        for case in json.loads((_FOLDER / "index.json").read_text())
        if case["name"].startswith(beginning)
    ]
    wrong = [case["name"] for case in cases if not _check(case, platform)]
    print(f"{len(cases) - len(wrong)} of {len(cases)} programs right", *wrong)
    return 1 if wrong or not cases else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
