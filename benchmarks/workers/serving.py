"""TPUEmbeddingForServing: serving.py ours|int8|stock sparse|ragged [eager].

A call goes through a concrete function of flat tensors; with "eager" it calls the
object itself, with sparse or ragged tensors that are ready. The stock class gets
its best step: rows summed once, then TensorFlow's sparse update.
"""

import sys

import numpy as np
import tensorflow as tf

from benchmarks import workloads
from benchmarks.worker import System, serve
from benchmarks.workers import tf_updates
from benchmarks.workers.tf_setup import check_stock, set_threads

embedding = tf.tpu.experimental.embedding


def _optimizer(name):
    rate = workloads.LEARNING_RATE
    accumulator = workloads.INITIAL_ACCUMULATOR
    if name == "adagrad":
        return embedding.Adagrad(rate, initial_accumulator_value=accumulator)
    if name == "adam":
        return embedding.Adam(rate, sum_inside_sqrt=False, **workloads.ADAM)
    if name == "ftrl":
        return embedding.FTRL(
            rate,
            initial_accumulator_value=accumulator,
            l1_regularization_strength=workloads.FTRL["l1"],
            l2_regularization_strength=workloads.FTRL["l2"],
        )
    return embedding.SGD(rate)


class Serving(System):
    """What both have in common."""

    form = "sparse"
    eager = False

    def __init__(self, inputs):
        super().__init__(inputs)
        set_threads(self.setting.threads)
        w = self.workload
        config = [
            embedding.FeatureConfig(
                embedding.TableConfig(
                    w.rows,
                    w.dim,
                    initializer=tf.zeros_initializer(),
                    combiner=w.combiner,
                    name=f"table{t}",
                )
            )
            for t in range(w.tables)
        ]
        self._layer = self._make_layer(config)
        self._layer.build()
        self._tables = [
            self._layer.embedding_tables[feature.table] for feature in config
        ]
        for t, table in enumerate(self._tables):
            table.assign(inputs.table(t))
        self._gradients = [tf.constant(x) for x in inputs.gradients]
        self._batches = [self._tensors(batch) for batch in inputs.batches]
        self._functions = {}

    def _tensors(self, batch):
        """Per feature its ids, their places and their weights."""
        w = self.workload
        flat = []
        for t in range(w.tables):
            ids, splits, weights = batch.of_table(t)
            flat.append(ids)
            if self.form == "ragged":
                flat.append(splits)
            else:
                rows = np.repeat(np.arange(w.batch), np.diff(splits))
                columns = np.arange(len(ids)) - splits[rows]
                flat.append(np.stack([rows, columns], 1))
                flat.append(np.array([w.batch, w.max_bag]))
            if weights is not None:
                flat.append(weights)
        return [tf.constant(x) for x in flat]

    def _structured(self, flat):
        """Features and weights from the flat tensors."""
        w = self.workload
        flat = iter(flat)
        features, weights = [], []
        for _ in range(w.tables):
            ids = next(flat)
            if self.form == "ragged":
                feature = tf.RaggedTensor.from_row_splits(
                    ids, next(flat), validate=False
                )
                features.append(feature)
                if w.weighted:
                    weights.append(feature.with_values(next(flat)))
            else:
                indices, shape = next(flat), next(flat)
                features.append(tf.SparseTensor(indices, ids, shape))
                if w.weighted:
                    weights.append(tf.SparseTensor(indices, next(flat), shape))
        return features, weights or None

    def _forward(self, *flat):
        return self._layer(*self._structured(flat))

    def _empty(self, *flat):
        del flat
        w = self.workload
        return [tf.zeros([w.batch, w.dim])] * w.tables

    def call(self, kind, batch):
        if self.eager and kind == "forward":
            features, weights = self._structured(self._batches[batch])
            return lambda: self._layer(features, weights)
        if kind not in self._functions:
            function = {
                "forward": self._forward,
                "step": self._step,
                "empty": self._empty,
            }[kind]
            specs = [
                tf.TensorSpec([None] * x.shape.rank, x.dtype) for x in self._batches[0]
            ]
            self._functions[kind] = tf.function(
                function, autograph=False
            ).get_concrete_function(*specs)
        function, flat = self._functions[kind], self._batches[batch]
        return lambda: function(*flat)


class Ours(Serving):
    def _make_layer(self, config):
        import tf_embed

        # Eager calls are timed without steps.
        optimizer = None if self.eager else _optimizer(self.setting.optimizer)
        return tf_embed.TPUEmbeddingForServing(config, optimizer)

    @staticmethod
    def versions():
        import tf_embed

        return f"tf_embed {tf_embed.__version__} on TensorFlow {tf.__version__}"

    def _step(self, *flat):
        features, weights = self._structured(flat)
        with tf.control_dependencies(self._layer(features, weights)):
            self._layer.apply_activation_gradients(features, self._gradients, weights)

    def warm_up(self):
        """Reads until the tables have moved to huge pages: see docs/serving.md."""
        w = self.workload
        calls = [self.call("forward", b) for b in range(self.setting.num_batches)]
        table_bytes = 4 * w.tables * w.rows * w.dim
        # A 64th of what is read may move; small batches would take long.
        needed = int(64 * table_bytes / (4 * w.dim * w.mean_ids)) + 1
        for i in range(min(needed, 20_000)):
            calls[i % len(calls)]()


class Int8(Ours):
    """Ours, quantized: no steps."""

    def __init__(self, inputs):
        super().__init__(inputs)
        import tf_embed

        self._tables = None
        self._layer = tf_embed.quantize(self._layer, "int8")

    def _make_layer(self, config):
        import tf_embed

        return tf_embed.TPUEmbeddingForServing(config, None)


class Stock(Serving):
    def _make_layer(self, config):
        check_stock()
        return embedding.TPUEmbeddingForServing(config, None)

    @staticmethod
    def versions():
        return f"TensorFlow {tf.__version__}"

    def __init__(self, inputs):
        super().__init__(inputs)
        self._update = tf_updates.make(self.setting.optimizer, self._tables)

    def _step(self, *flat):
        features, weights = self._structured(flat)
        with tf.GradientTape() as tape:
            activations = self._layer(features, weights)
        gradients = tape.gradient(
            activations, self._tables, output_gradients=self._gradients
        )
        if self.setting.optimizer != "sgd":
            gradients = [tf_updates.rows_once(x) for x in gradients]
        self._update(gradients)


if __name__ == "__main__":
    system_class = {"ours": Ours, "int8": Int8, "stock": Stock}[sys.argv[1]]
    system_class.form = sys.argv[2]
    system_class.eager = "eager" in sys.argv[3:]
    serve(system_class)
