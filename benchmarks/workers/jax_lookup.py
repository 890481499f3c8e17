"""A lookup in jax, compiled by XLA for the CPU."""

import jax
import numpy as np

from benchmarks.worker import System, serve

# Ids are int64, as for the other systems.
jax.config.update("jax_enable_x64", True)


class JaxLookup(System):
    def __init__(self, inputs):
        super().__init__(inputs)
        w = self.workload
        self._tables = [jax.numpy.asarray(inputs.table(t)) for t in range(w.tables)]
        self._function = jax.jit(self._look_up)
        # One shape for all batches, or each would be compiled.
        self._length = max(
            len(batch.of_table(t)[0])
            for batch in inputs.batches
            for t in range(w.tables)
        )
        self._batches = [self._arrays(batch) for batch in inputs.batches]

    @staticmethod
    def versions():
        return f"jax {jax.__version__}"

    def _arrays(self, batch):
        w = self.workload
        arrays = []
        for t in range(w.tables):
            ids, splits, weights = batch.of_table(t)
            sizes = np.diff(splits)
            factors = np.ones(len(ids), np.float32) if weights is None else weights
            if w.combiner == "mean":
                factors = factors / np.repeat(sizes, sizes).astype(np.float32)
            bags = np.repeat(np.arange(w.batch), sizes)
            pad = (0, self._length - len(ids))
            # Behind the last bag, where sums are dropped.
            bags = np.pad(bags, pad, constant_values=w.batch)
            arrays.append((np.pad(ids, pad), bags, np.pad(factors, pad)))
        return jax.device_put(arrays)

    def _look_up(self, tables, arrays):
        outputs = []
        for table, (ids, bags, factors) in zip(tables, arrays, strict=True):
            rows = table.at[ids].get(mode="promise_in_bounds")
            if not self.workload.one_id:
                rows = jax.ops.segment_sum(
                    rows * factors[:, None],
                    bags,
                    self.workload.batch,
                    indices_are_sorted=True,
                )
            outputs.append(rows)
        return outputs

    def call(self, kind, batch):
        tables, arrays = self._tables, self._batches[batch]
        return lambda: jax.block_until_ready(self._function(tables, arrays))


if __name__ == "__main__":
    serve(JaxLookup)
