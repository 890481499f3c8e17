"""First call and memory of TPUEmbeddingForServing against TensorFlow's own.

Starts a process for each class, some times in turn, that builds the tables of a
workload, traces a function, looks up one batch, then a hundred more. Prints, as
medians: seconds to import, to make the tables, of the first call (tracing and
kernel construction with it), and the process's peak memory after the first call
and at its end.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time


def _peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _one(which, tables, rows):
    """In a process of its own: what it took, as JSON."""
    start = time.perf_counter()
    import numpy as np
    import tensorflow as tf

    if which != "stock":
        import tf_embed
    imported = time.perf_counter()
    embedding = tf.tpu.experimental.embedding
    cls = embedding.TPUEmbeddingForServing
    if which != "stock":
        cls = tf_embed.TPUEmbeddingForServing
    layer = cls(
        [
            embedding.FeatureConfig(
                embedding.TableConfig(
                    rows, 64, initializer=tf.ones_initializer(), name=f"table{i}"
                )
            )
            for i in range(tables)
        ],
        None,
    )
    layer.build()
    if which == "int8":
        layer = tf_embed.quantize(layer)
    built = time.perf_counter()
    rng = np.random.default_rng(1)
    inputs = [
        tf.RaggedTensor.from_uniform_row_length(
            tf.constant(rng.integers(0, rows, 256 * 20)), 20
        )
        for _ in range(tables)
    ]
    inputs = [tf.RaggedTensor.from_row_splits(x.values, x.row_splits) for x in inputs]
    lookup = tf.function(layer)
    before = time.perf_counter()
    lookup(inputs)
    first = time.perf_counter()
    peak_first = _peak_mb()
    for _ in range(100):
        lookup(inputs)
    print(
        json.dumps(
            {
                "import s": imported - start,
                "build s": built - imported,
                "first call s": first - before,
                "peak MB, first call": peak_first,
                "peak MB, end": _peak_mb(),
            }
        )
    )


def main():
    parser = argparse.ArgumentParser(
        prog="./run bench serving-startup", description=__doc__
    )
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--tables", type=int, default=8)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        _one(arguments.only, arguments.tables, arguments.rows)
        return
    kinds = ("ours", "stock", "int8")
    results = {kind: [] for kind in kinds}
    for _ in range(arguments.repeat):
        for kind in kinds:
            command = [sys.executable, __file__, *sys.argv[1:], "--only", kind]
            output = subprocess.run(
                command,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
            ).stdout
            results[kind].append(json.loads(output.splitlines()[-1]))
    size = arguments.tables * arguments.rows * 64 * 4 / 2**20
    print(f"{arguments.tables} tables of {arguments.rows} x 64, {size:.0f} MB in all")
    print(f"{'':20}" + "".join(f"{kind:>10}" for kind in kinds))
    for name in results["ours"][0]:
        values = [statistics.median(r[name] for r in results[k]) for k in kinds]
        print(f"{name:20}" + "".join(f"{value:10.3f}" for value in values), flush=True)


if __name__ == "__main__":
    main()
