"""The same bits whatever the number of threads."""

import os
import subprocess
import sys
import textwrap

# Trains all optimizers on tables large enough to be cut into many pieces, with
# repeated ids and denormal gradients, and prints a digest of every number.
_PROGRAM = """
    import hashlib, sys
    import numpy as np
    import tensorflow as tf
    threads = int(sys.argv[1])
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    from tests.ops import harness
    from tests.reference import cases
    from tests.reference.optimizers import OPTIMIZERS

    rng = np.random.default_rng(7)
    config = cases.Config(mode=cases.Config.TRAINING, num_tensor_cores=2)
    tags = 0
    for name in OPTIMIZERS:
        parameters, used = cases.random_optimizer(rng, name, tags)
        tags += used
        config.table_descriptor.add(
            name=name, vocabulary_size=3000,
            dimension=1 if name == "frequency_estimator" else 24,
            optimization_parameters=parameters)
        for _ in range(2):
            config.feature_descriptor.add(
                table_id=len(config.table_descriptor) - 1, input_shape=[1000])
    harness.configure(config)
    harness.load_all(
        config, [cases.random_state(rng, t) for t in config.table_descriptor])
    digest = hashlib.sha256()

    def add(arrays):
        for array in arrays:
            digest.update(np.asarray(array).tobytes())

    def inputs():
        features = config.feature_descriptor
        ids = [(rng.zipf(1.2, 5000) % 3000).astype(np.int64) for _ in features]
        splits = [np.sort(rng.integers(0, 5001, 999)) for _ in features]
        splits = [np.concatenate([[0], s, [5000]]).astype(np.int32) for s in splits]
        weights = [rng.random(5000).astype(np.float32) for _ in features]
        return dict(
            sample_indices_or_row_splits=splits, embedding_indices=ids,
            aggregation_weights=weights)

    for step in range(2):
        for core in range(2):
            harness.op(
                "EnqueueTPUEmbeddingArbitraryTensorBatch", **inputs(),
                mode_override="train", device_ordinal=core,
                combiners=["mean"] * len(config.table_descriptor))
        for core in range(2):
            add(harness.recv(config, core))
        for core in range(2):
            steps = np.random.default_rng(step)
            gradients, rates = cases.random_gradients(steps, config)
            for gradient in gradients[::3]:
                gradient *= np.float32(1e-38)
            harness.send(config, gradients, rates, core)
    for values in harness.retrieve_all(config):
        add(values)
    print("digest", digest.hexdigest())
"""


def _digest(threads: int) -> str:
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_PROGRAM), str(threads)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ,
        check=False,
    )
    lines = [x for x in result.stdout.splitlines() if x.startswith("digest")]
    assert lines, result.stderr[-2000:]
    return lines[0]


def test_BitsAreTheSameWithOneTwoAndEightThreads() -> None:
    assert _digest(1) == _digest(2) == _digest(8)
