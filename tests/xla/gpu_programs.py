"""Writes what XLA is given of lookups and updates for a GPU.

    PYTHONPATH=bazel-bin/python .venv/bin/python -m tests.xla.gpu_programs FOLDER

FOLDER is for a machine with a GPU, which needs jax, but no TensorFlow:
`python3 FOLDER/run.py` there runs each program several times, compares it with
what the CPU makes of the lowering for CPUs, and times the large ones beside
what TensorFlow builds.
"""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import json
import pathlib
import re
import shutil
import sys
import typing

import numpy as np
import tensorflow as tf

from tests.xla.feature_cases import random_features, random_tables, update_features
from tests.xla.update_cases import OPTIMIZERS, update_case
from tf_embed.serving._fused_lookup import FusedFeature, fused_lookup
from tf_embed.serving._fused_update import FusedUpdate
from tf_embed.xla._tpu_cost import lowered_for

_RUN = pathlib.Path(__file__).with_name("run_gpu_programs.py")
_TENSORS = ("ids", "indices", "dense_shape", "weights")
_BATCH, _LENGTH = 2048, 20


@dataclasses.dataclass(frozen=True)
class Program:
    """A function, and how its inputs are made: arguments, then variables.

    Attributes:
      inputs: Of each {"kind", "shape", ...}; run_gpu_programs.py knows the kinds.
      specs: Of the arguments.
      stock: What TensorFlow builds for the same.
      timed: Whether it is large enough for that.
      writes: How many variables, the last inputs, it returns new values of. Of
        programs that are timed.
    """

    name: str
    function: collections.abc.Callable[..., typing.Any]
    inputs: list[dict[str, typing.Any]]
    specs: list[tf.TensorSpec] = dataclasses.field(default_factory=list)
    stock: collections.abc.Callable[..., typing.Any] | None = None
    timed: bool = False
    writes: int = 0


def _without_locations(text: str) -> str:
    """Of StableHLO. They name files of this machine."""
    text = re.sub(r"(?m)^#loc.*\n", "", text)
    quoted = r'[^()"]|"[^"]*"'
    return re.sub(rf" loc\((?:{quoted}|\((?:{quoted})*\))*\)", "", text)


def _text(program: Program, function: typing.Any, target: str) -> str:
    compiled = tf.function(function, jit_compile=True, autograph=False)
    ir = compiled.experimental_get_compiler_ir(*program.specs)
    with lowered_for(target) if target == "gpu" else contextlib.nullcontext():
        text = ir(stage="stablehlo", platform_name="CPU")
    # Which the StableHLO that jax reads does not have; a variable that is only
    # assigned to is returned through one.
    text = re.sub(
        r"mhlo\.copy (%\w+) : (tensor<[^>]*>)", r"stablehlo.convert \1 : \2", text
    )
    return _without_locations(text)


def _as_values(features: list[FusedFeature]) -> list[FusedFeature]:
    """The same of NumPy arrays, which no function captures."""
    return [
        dataclasses.replace(
            feature,
            **{
                name: getattr(feature, name).numpy()
                for name in _TENSORS
                if getattr(feature, name) is not None
            },
        )
        for feature in features
    ]


def _as_constants(features: list[FusedFeature]) -> list[FusedFeature]:
    """Of `_as_values`: tensors of the function that is being traced."""
    return [
        dataclasses.replace(
            feature,
            **{
                name: tf.constant(getattr(feature, name))
                for name in _TENSORS
                if getattr(feature, name) is not None
            },
        )
        for feature in features
    ]


def _variables(
    function: typing.Any, variables: collections.abc.Iterable[tf.Variable], kind: str
) -> list[dict[str, typing.Any]]:
    """Inputs for the variables of a function, in the order of its program."""
    traced = tf.function(function, autograph=False).get_concrete_function()
    shapes = {id(variable.handle): variable.shape for variable in variables}
    return [
        {"kind": kind, "shape": shapes[id(handle)].as_list()}
        for handle in traced.captured_inputs
    ]


def small_lookups(seed: int) -> collections.abc.Iterator[Program]:
    """All forms and combiners, and the gradients of their tables."""
    rng = np.random.default_rng(seed)
    tables = random_tables(rng)
    features = random_features(rng, tables)
    factors = [rng.normal(size=value.shape) for value in fused_lookup(features)]
    features = _as_values(features)

    def lookup():
        return fused_lookup(_as_constants(features))

    def gradient():
        with tf.GradientTape() as tape:
            loss = tf.add_n(
                [
                    tf.reduce_sum(tf.constant(factor, tf.float32) * output)
                    for factor, output in zip(factors, lookup(), strict=True)
                ]
            )
        slices = tape.gradient(loss, tables)
        return [part for s in slices for part in (s.indices, s.values)]

    for name, function in (("lookup", lookup), ("gradient", gradient)):
        inputs = _variables(function, tables, "normal")
        yield Program(f"{name} {seed}", function, inputs)


def _small_update(optimizer: str, vocabulary: int) -> Program:
    rng = np.random.default_rng(1)
    config, variables = update_case(rng, optimizer, vocabulary)
    table = variables["t"]["parameters"]
    features = update_features(rng, table)
    gradients = [rng.normal(size=value.shape) for value in fused_lookup(features)]
    features = _as_values(features)

    def update():
        FusedUpdate(_as_constants(features), [config], variables)(
            [tf.constant(gradient, tf.float32) for gradient in gradients]
        )

    inputs = _variables(update, variables["t"].values(), "positive")
    return Program(f"update {optimizer} {vocabulary}", update, inputs)


def _large(rows: int, dim: int) -> collections.abc.Iterator[Program]:
    num_ids = _BATCH * _LENGTH
    table = tf.Variable(tf.zeros([rows, dim]))
    of_table = {"kind": "normal", "shape": [rows, dim]}
    size = f"{rows:,} x {dim}"

    def ids(shape: list[int]) -> dict[str, typing.Any]:
        return {"kind": "ids", "shape": shape, "end": rows}

    def ragged_mean(ids, splits):
        feature = FusedFeature(
            "f", table, form="ragged", combiner="mean", ids=ids, indices=splits
        )
        return fused_lookup([feature])

    yield Program(
        f"ragged {size}",
        ragged_mean,
        [ids([num_ids]), {"kind": "splits", "shape": [_BATCH + 1], "end": num_ids},
         of_table],
        [tf.TensorSpec([num_ids], tf.int32), tf.TensorSpec([_BATCH + 1], tf.int32)],
        timed=True,
    )  # fmt: skip

    def sparse_sum(ids, indices, weights):
        feature = FusedFeature(
            "f", table, form="sparse_safe", combiner="sum", ids=ids, indices=indices,
            dense_shape=tf.constant([_BATCH, num_ids], tf.int64), weights=weights,
        )  # fmt: skip
        return fused_lookup([feature])

    yield Program(
        f"sparse {size}",
        sparse_sum,
        [ids([num_ids]), {"kind": "indices", "shape": [num_ids, 2], "end": _BATCH},
         {"kind": "positive", "shape": [num_ids]}, of_table],
        [tf.TensorSpec([num_ids], tf.int32), tf.TensorSpec([num_ids, 2], tf.int64),
         tf.TensorSpec([num_ids])],
        timed=True,
    )  # fmt: skip

    shape = [_BATCH, _LENGTH]
    coordinates = np.stack(np.divmod(np.arange(num_ids), _LENGTH), 1)

    def padded_feature(ids, weights):
        return FusedFeature(
            "f", table, form="sparse_safe", combiner="sum",
            ids=tf.reshape(ids, [-1]), indices=tf.constant(coordinates),
            dense_shape=tf.constant(shape, tf.int64),
            weights=tf.reshape(weights, [-1]),
        )  # fmt: skip

    def stock_lookup(ids, weights):
        rows = tf.nn.embedding_lookup(table, ids)
        return tf.reduce_sum(rows * weights[:, :, tf.newaxis], -2)

    of_batch = [ids(shape), {"kind": "positive", "shape": shape}]
    specs = [tf.TensorSpec(shape, tf.int32), tf.TensorSpec(shape)]
    yield Program(
        f"padded {size}",
        lambda *inputs: fused_lookup([padded_feature(*inputs)]),
        [*of_batch, of_table],
        specs,
        stock_lookup,
        timed=True,
    )

    config = tf.tpu.experimental.embedding.TableConfig(
        rows, dim, optimizer=tf.tpu.experimental.embedding.Adagrad(0.1), name="t"
    )
    slot = tf.Variable(tf.zeros([rows, dim]))
    variables = {"t": {"parameters": table, "accumulators": slot}}

    def update(gradient, *inputs):
        FusedUpdate([padded_feature(*inputs)], [config], variables)([gradient])

    # An Adagrad that passes over the table: no other of TensorFlow's compiles
    # in less than minutes.
    def stock_update(gradient, *inputs):
        with tf.GradientTape() as tape:
            pooled = stock_lookup(*inputs)
        of_rows = tape.gradient(pooled, table, output_gradients=gradient)
        dense = tf.convert_to_tensor(of_rows)
        slot.assign_add(dense * dense)
        table.assign_sub(0.1 * dense * tf.math.rsqrt(slot))

    yield Program(
        f"Adagrad {size}",
        update,
        [{"kind": "normal", "shape": [_BATCH, dim]}, *of_batch, of_table,
         {"kind": "positive", "shape": [rows, dim]}],
        [tf.TensorSpec([_BATCH, dim]), *specs],
        stock_update,
        timed=True,
        writes=2,
    )  # fmt: skip


def programs() -> collections.abc.Iterator[Program]:
    for seed in range(6):
        yield from small_lookups(seed)
    for optimizer in sorted(OPTIMIZERS):
        for vocabulary in (30, 5000):
            yield _small_update(optimizer, vocabulary)
    for rows, dim in ((100_000, 64), (1_000_000, 16), (1_000_000, 64)):
        yield from _large(rows, dim)


def write(chosen: collections.abc.Iterable[Program], folder: pathlib.Path) -> None:
    """Writes programs, an index of them and run.py into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    index = []
    for program in chosen:
        stem = re.sub(r"\W+", "_", program.name)
        functions = {"cpu": program.function, "gpu": program.function}
        if program.stock is not None:
            functions["stock"] = program.stock
        for target, function in functions.items():
            (folder / f"{stem}.{target}.mlir").write_text(
                _text(program, function, target)
            )
        index.append(
            {
                "name": program.name,
                "stem": stem,
                "inputs": program.inputs,
                "targets": [*functions][1:],
                "timed": program.timed,
                "writes": program.writes,
            }
        )
    (folder / "index.json").write_text(json.dumps(index, indent=1))
    shutil.copy(_RUN, folder / "run.py")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.xla.gpu_programs FOLDER")
    write(programs(), pathlib.Path(sys.argv[1]))
