"""TPUEmbeddingForServing against TensorFlow's own, side by side.

Workloads W1 (26 tables, one id a bag), W2 (8 tables, 20 ids a bag) and W3
(serving: 3 small tables, batches of 1 and 32). Both classes hold the same
tables and get the same rotating batches through concrete functions of flat
tensors; their results are compared first. Prints microseconds, median and tenth
percentile, and the ratio; for W3 also against an empty function of the same
signature. `--train` adds a step of forward, backward and Adagrad update.

usage: serving_benchmark.py [--quick] [--train] [--threads N] [--only W2]
"""

import argparse
import dataclasses
import platform
import time

import numpy as np
import tensorflow as tf

import tf_embed

embedding = tf.tpu.experimental.embedding

NUM_BATCHES = 16


@dataclasses.dataclass
class Workload:
    """Size of tables and batches; `bag` ids a bag on average, 0: exactly one."""

    name: str
    tables: int
    rows: int
    dim: int
    batch: int
    bag: int
    combiner: str = "mean"
    weighted: bool = False

    def config(self):
        return [
            embedding.FeatureConfig(
                embedding.TableConfig(
                    self.rows,
                    self.dim,
                    initializer=tf.zeros_initializer(),
                    combiner=self.combiner,
                    name=f"table{i}",
                )
            )
            for i in range(self.tables)
        ]

    def ids(self, rng, zipf):
        """Row lengths and ids of one feature."""
        lengths = np.ones(self.batch, np.int64)
        if self.bag:
            lengths = rng.integers(1, 2 * self.bag, self.batch)
        total = int(lengths.sum())
        if not zipf:
            return lengths, rng.integers(0, self.rows, total)
        # Zipf by inversion of the continuous law, scattered over the table.
        exponent = 1.05
        u = rng.random(total)
        top = self.rows ** (1 - exponent)
        rank = (1 - u * (1 - top)) ** (1 / (1 - exponent))
        return lengths, (rank.astype(np.int64) * 7919) % self.rows


WORKLOADS = [
    Workload("W1", 26, 100_000, 64, 2048, 0),
    Workload("W2", 8, 1_000_000, 64, 2048, 20),
    Workload("W2 weighted", 8, 1_000_000, 64, 2048, 20, "sum", True),
    Workload("W3 batch 1", 3, 100_000, 32, 1, 10),
    Workload("W3 batch 32", 3, 100_000, 32, 32, 10),
]


def _batch(workload, rng, form, zipf):
    """Flat tensors of one batch: per feature ids, places and weights."""
    flat = []
    for _ in range(workload.tables):
        lengths, ids = workload.ids(rng, zipf)
        splits = np.concatenate([[0], np.cumsum(lengths)])
        flat.append(tf.constant(ids))
        if form == "ragged":
            flat.append(tf.constant(splits))
        else:
            rows = np.repeat(np.arange(workload.batch), lengths)
            columns = np.arange(len(ids)) - splits[rows]
            flat.append(tf.constant(np.stack([rows, columns], 1)))
            flat.append(
                tf.constant([workload.batch, max(1, int(lengths.max()))], tf.int64)
            )
        if workload.weighted:
            flat.append(tf.constant(rng.random(len(ids), np.float32) + 0.5))
    return flat


def _structured(workload, form, flat):
    """Features and weights from the flat tensors."""
    flat = iter(flat)
    features, weights = [], []
    for _ in range(workload.tables):
        ids = next(flat)
        if form == "ragged":
            feature = tf.RaggedTensor.from_row_splits(ids, next(flat), validate=False)
            features.append(feature)
            if workload.weighted:
                weights.append(feature.with_values(next(flat)))
        else:
            indices, shape = next(flat), next(flat)
            features.append(tf.SparseTensor(indices, ids, shape))
            if workload.weighted:
                weights.append(tf.SparseTensor(indices, next(flat), shape))
    return features, weights or None


def _concrete(function, batch):
    specs = [tf.TensorSpec([None] * t.shape.rank, t.dtype) for t in batch]
    return tf.function(function, autograph=False).get_concrete_function(*specs)


def _forward(layer, workload, form):
    def forward(*flat):
        features, weights = _structured(workload, form, flat)
        return layer(features, weights)

    return forward


def _empty(workload):
    def empty(*flat):
        del flat
        return [tf.zeros([workload.batch, workload.dim])] * workload.tables

    return empty


def _our_step(layer, workload, form):
    def step(*flat):
        features, weights = _structured(workload, form, flat)
        outputs = layer(features, weights)
        layer.apply_activation_gradients(
            features, [output * 1e-3 for output in outputs], weights
        )

    return step


def _stock_step(layer, workload, form):
    tables = list(layer.embedding_tables.values())
    accumulators = [tf.Variable(tf.fill(table.shape, 0.1)) for table in tables]

    def step(*flat):
        features, weights = _structured(workload, form, flat)
        with tf.GradientTape() as tape:
            outputs = layer(features, weights)
        gradients = tape.gradient(
            outputs, tables, output_gradients=[o * 1e-3 for o in outputs]
        )
        for table, accumulator, gradient in zip(
            tables, accumulators, gradients, strict=True
        ):
            rows, index = tf.unique(gradient.indices)
            summed = tf.math.unsorted_segment_sum(gradient.values, index, tf.size(rows))
            tf.raw_ops.ResourceSparseApplyAdagradV2(
                var=table.handle,
                accum=accumulator.handle,
                lr=0.01,
                epsilon=0.0,
                grad=summed,
                indices=rows,
            )

    step.accumulators = accumulators
    return step


def _measure(functions, batches, seconds):
    """Microseconds of each call, the functions taking turns."""
    times = {name: [] for name in functions}
    # Our tables move to huge pages as they are read.
    for function in functions.values():
        start, i = time.perf_counter(), 0
        while time.perf_counter() - start < 2 * seconds or i < 5:
            function(*batches[i % len(batches)])
            i += 1
    start, i = time.perf_counter(), 0
    while time.perf_counter() - start < seconds or i < 5:
        for offset, (name, function) in enumerate(functions.items()):
            # Nobody finds the rows of a batch in the cache.
            batch = batches[(i + 5 * offset) % len(batches)]
            begin = time.perf_counter()
            function(*batch)
            times[name].append((time.perf_counter() - begin) * 1e6)
        i += 1
    return {name: np.array(values) for name, values in times.items()}


def _compare(functions, batches):
    for batch in batches[:2]:
        ours, stock = functions["ours"](*batch), functions["stock"](*batch)
        for a, b in zip(ours, stock, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def _run(workload, form, zipf, train, seconds):
    rng = np.random.default_rng(20261121)
    batches = [_batch(workload, rng, form, zipf) for _ in range(NUM_BATCHES)]
    optimizer = embedding.Adagrad(0.01) if train else None
    ours = tf_embed.TPUEmbeddingForServing(workload.config(), optimizer)
    stock = embedding.TPUEmbeddingForServing(workload.config(), None)
    for a, b in zip(
        ours.embedding_tables.values(), stock.embedding_tables.values(), strict=True
    ):
        a.assign(tf.random.stateless_uniform(a.shape, [1, 2], -1.0, 1.0))
        b.assign(a)
    functions = {
        "ours": _concrete(_forward(ours, workload, form), batches[0]),
        "stock": _concrete(_forward(stock, workload, form), batches[0]),
    }
    _compare(functions, batches)
    if train:
        functions = {
            "ours": _concrete(_our_step(ours, workload, form), batches[0]),
            "stock": _concrete(_stock_step(stock, workload, form), batches[0]),
        }
    elif workload.batch <= 32:
        functions["empty"] = _concrete(_empty(workload), batches[0])
    times = _measure(functions, batches, seconds)
    ids = "zipf" if zipf else "uniform"
    what = "step" if train else "forward"
    line = f"{workload.name:12} {form:6} {ids:7} {what:7}"
    for values in times.values():
        line += f" {np.median(values):9.0f} {np.percentile(values, 10):9.0f}"
    line += f"   {np.median(times['stock']) / np.median(times['ours']):5.2f}x"
    if "empty" in times:
        ratio = np.median(times["ours"]) / np.median(times["empty"])
        line += f"   {ratio:5.2f}x empty"
    print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one second a line")
    parser.add_argument("--train", action="store_true", help="time steps too")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="workloads whose name begins so")
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    seconds = 1 if arguments.quick else 6
    print(
        f"TensorFlow {tf.__version__}, tf_embed {tf_embed.__version__},"
        f" {platform.processor() or platform.machine()},"
        f" {arguments.threads} thread(s); microseconds: median, 10th percentile"
    )
    print(f"{'':36}{'ours':>14}{'stock':>20}")
    for workload in WORKLOADS:
        if not workload.name.startswith(arguments.only):
            continue
        for form in ("sparse", "ragged"):
            for zipf in (False, True):
                _run(workload, form, zipf, False, seconds)
                if arguments.train and workload.batch > 32:
                    _run(workload, form, zipf, True, seconds)


if __name__ == "__main__":
    main()
