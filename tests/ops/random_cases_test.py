"""Random programs against the slow reference.

Two sizes: everyday, and with --num-cases (the slow target) thousands.
"""

import numpy as np
import pytest

from tests.ops import harness
from tests.reference import cases
from tests.reference.engine import Engine
from tests.reference.interval import Interval, outside

_STEPS = 3


def _check(seed: int, what: str, actual: np.ndarray, expected: Interval) -> None:
    wrong = outside(np.asarray(actual), expected)
    if wrong.any():
        where = tuple(int(i[0]) for i in np.nonzero(wrong))
        pytest.fail(
            f"seed {seed}: {what}{list(where)} is {np.asarray(actual)[where]!r}, "
            f"expected [{expected.lo[where]!r}, {expected.hi[where]!r}]; "
            f"{int(wrong.sum())} of {wrong.size} are wrong"
        )


def _load(rng: np.random.Generator, config: cases.Config, engine: Engine) -> None:
    states = [cases.random_state(rng, t) for t in config.table_descriptor]
    num_shards = int(rng.integers(1, 4))
    num_shards = min(
        [num_shards, *(t.vocabulary_size for t in config.table_descriptor)]
    )
    for shard in range(num_shards):
        parts = [
            [values[engine.shard_rows(t, shard, num_shards)] for values in states[t]]
            for t in range(len(states))
        ]
        harness.load_all(config, parts, num_shards, shard)
    for t, state in enumerate(states):
        engine.load(t, state)


def _retrieve(config: cases.Config, engine: Engine, seed: int) -> None:
    """Compares the tables and continues with the exact ones."""
    engine.flush()
    actual = harness.tables_of(config)
    for t, values in enumerate(actual):
        for i, value in enumerate(values):
            name = config.table_descriptor[t].optimization_parameters.WhichOneof(
                "parameters"
            )
            _check(seed, f"table {t} ({name}) variable {i} ", value, engine.state[t][i])
        engine.load(t, values)


def _enqueue(
    rng: np.random.Generator, config: cases.Config, engine: Engine, mode: str
) -> None:
    for core in range(engine.num_cores):
        op, kwargs = cases.random_inputs(rng, config, mode)
        engine.enqueue(core, op, kwargs)
        harness.op(op, **kwargs, device_ordinal=core)


def _recv(seed: int, config: cases.Config, engine: Engine) -> None:
    for core in range(engine.num_cores):
        actual = harness.recv(config, core)
        for f, expected in enumerate(engine.recv(core)):
            _check(seed, f"core {core} activation {f} ", actual[f].numpy(), expected)


def _run(seed: int) -> None:
    rng = np.random.default_rng(seed)
    config = cases.random_config(rng, feature_dialect=bool(rng.integers(2)))
    engine = Engine(config)
    harness.configure(config)
    if rng.random() < 0.9:
        _load(rng, config, engine)
    pipelined = config.pipeline_execution_with_tensor_core
    for _ in range(_STEPS):
        if not pipelined and rng.random() < 0.2:
            _enqueue(rng, config, engine, "inference")
            _recv(seed, config, engine)
        _enqueue(rng, config, engine, str(rng.choice(["train", "unspecified"])))
        _recv(seed, config, engine)
        _, rates = cases.random_gradients(rng, config)
        for core in rng.permutation(engine.num_cores):
            gradients, _ = cases.random_gradients(rng, config)
            engine.send(int(core), gradients, rates)
            harness.send(config, gradients, rates, int(core))
        if not pipelined:
            _retrieve(config, engine, seed)
    _retrieve(config, engine, seed)


_BLOCK = 25


def test_RandomProgramsAgreeWithTheReference(first_case: int) -> None:
    for seed in range(first_case, first_case + _BLOCK):
        try:
            _run(seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
