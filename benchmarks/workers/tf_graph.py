"""TensorFlow's own lookup and update ops, put together as well as they can be."""

import numpy as np
import tensorflow as tf

from benchmarks.worker import System, serve
from benchmarks.workers import tf_updates
from benchmarks.workers.tf_setup import check_stock, set_threads


class TfGraph(System):
    def __init__(self, inputs):
        super().__init__(inputs)
        check_stock()
        set_threads(self.setting.threads)
        self._tables = [
            tf.Variable(inputs.table(t)) for t in range(self.workload.tables)
        ]
        self._update = tf_updates.make(self.setting.optimizer, self._tables)
        self._gradients = [tf.constant(x) for x in inputs.gradients]
        self._batches = [self._tensors(batch) for batch in inputs.batches]
        self._functions = {}

    @staticmethod
    def versions():
        return f"TensorFlow {tf.__version__}"

    def _tensors(self, batch):
        """Per table ids, the bag of each, and weights."""
        flat = []
        for t in range(self.workload.tables):
            ids, splits, weights = batch.of_table(t)
            flat.append(ids)
            if not self.workload.one_id:
                sizes = np.diff(splits)
                bags = np.repeat(np.arange(self.workload.batch, dtype=np.int32), sizes)
                flat.append(bags)
            if weights is not None:
                flat.append(weights)
        return [tf.constant(x) for x in flat]

    def _per_table(self, flat):
        size = len(flat) // self.workload.tables
        return [flat[i : i + size] for i in range(0, len(flat), size)]

    def _pool(self, rows, index, bags, weights):
        """Sums or averages rows[index] by bags."""
        if weights:
            rows = tf.gather(rows, index) * weights[0][:, tf.newaxis]
            return tf.math.segment_sum(rows, bags)
        if self.workload.combiner == "mean":
            return tf.sparse.segment_mean(rows, index, bags)
        return tf.sparse.segment_sum(rows, index, bags)

    def _forward(self, *flat):
        outputs = []
        for table, (ids, *rest) in zip(
            self._tables, self._per_table(flat), strict=True
        ):
            if not rest:
                outputs.append(tf.gather(table, ids))
            elif self.workload.weighted:
                outputs.append(self._pool(table, ids, rest[0], rest[1:]))
            else:
                # No copy: the op reads the variable's own memory.
                outputs.append(self._pool(table.read_value(), ids, rest[0], []))
        return outputs

    def _step(self, *flat):
        outputs, gradients = [], []
        for table, gradient, (ids, *rest) in zip(
            self._tables, self._gradients, self._per_table(flat), strict=True
        ):
            # Found once, for the lookup and for the gradient. (Read as a whole,
            # a variable that is updated by rows would be copied.)
            rows, index = tf.unique(ids)
            looked_up = tf.gather(table, rows)
            if rest:
                outputs.append(self._pool(looked_up, index, rest[0], rest[1:]))
            else:
                outputs.append(tf.gather(looked_up, index))
            summed = self._row_gradients(gradient, index, tf.size(rows), rest)
            gradients.append(tf.IndexedSlices(summed, rows))
        # Nothing is updated before it was read.
        with tf.control_dependencies(outputs):
            self._update(gradients)

    def _row_gradients(self, gradient, index, num_rows, rest):
        """From the gradient of a table's activations."""
        if rest and not self.workload.weighted:
            grad = (
                tf.raw_ops.SparseSegmentMeanGrad
                if self.workload.combiner == "mean"
                else tf.raw_ops.SparseSegmentSumGrad
            )
            return grad(
                grad=gradient,
                indices=index,
                segment_ids=rest[0],
                output_dim0=num_rows,
            )
        if rest:
            gradient = tf.gather(gradient, rest[0]) * rest[1][:, tf.newaxis]
        return tf.math.unsorted_segment_sum(gradient, index, num_rows)

    def call(self, kind, batch):
        if kind not in self._functions:
            function = {"forward": self._forward, "step": self._step}[kind]
            specs = [tf.TensorSpec([None], x.dtype) for x in self._batches[0]]
            self._functions[kind] = tf.function(
                function, autograph=False
            ).get_concrete_function(*specs)
        function, flat = self._functions[kind], self._batches[batch]
        return lambda: function(*flat)


if __name__ == "__main__":
    serve(TfGraph)
