"""FBGEMM's table-batched embeddings on CPU: one op for all tables."""

from importlib import metadata

import fbgemm_gpu.split_table_batched_embeddings_ops_training as training
import numpy as np
import torch
from fbgemm_gpu.split_embedding_configs import EmbOptimType
from fbgemm_gpu.split_table_batched_embeddings_ops_common import (
    BoundsCheckMode,
    EmbeddingLocation,
    PoolingMode,
)

from benchmarks import workloads
from benchmarks.worker import System, serve

_OPTIMIZERS = {
    "sgd": EmbOptimType.EXACT_SGD,
    "adagrad": EmbOptimType.EXACT_ADAGRAD,
}


class FbgemmTbe(System):
    def __init__(self, inputs):
        super().__init__(inputs)
        w = self.workload
        torch.set_num_threads(self.setting.threads)
        self._bags = training.SplitTableBatchedEmbeddingBagsCodegen(
            [
                (w.rows, w.dim, EmbeddingLocation.HOST, training.ComputeDevice.CPU)
                for _ in range(w.tables)
            ],
            # Without an update of its own, no memory for slots is wanted.
            optimizer=_OPTIMIZERS.get(self.setting.optimizer, EmbOptimType.EXACT_SGD),
            learning_rate=workloads.LEARNING_RATE,
            eps=1e-10,
            pooling_mode=(
                PoolingMode.MEAN if w.combiner == "mean" else PoolingMode.SUM
            ),
            bounds_check_mode=BoundsCheckMode.NONE,
        )
        for t, weights in enumerate(self._bags.split_embedding_weights()):
            inputs.fill(t, weights.numpy())
        if self.setting.optimizer == "adagrad":
            for (accumulator,) in self._bags.split_optimizer_states():
                accumulator.fill_(workloads.INITIAL_ACCUMULATOR)
        # [batch, tables * dim]
        gradients = inputs.gradients.transpose(1, 0, 2).reshape(w.batch, -1)
        self._gradients = torch.from_numpy(np.ascontiguousarray(gradients))
        self._batches = [self._tensors(batch) for batch in inputs.batches]

    @staticmethod
    def versions():
        return f"fbgemm-gpu-cpu {metadata.version('fbgemm-gpu-cpu')}"

    @staticmethod
    def _tensors(batch):
        offsets = np.append(batch.splits[:, :-1].ravel(), len(batch.ids))
        weights = None if batch.weights is None else torch.from_numpy(batch.weights)
        return torch.from_numpy(batch.ids), torch.from_numpy(offsets), weights

    def _forward(self, b):
        # Not inference_mode: the CPU kernel hangs on the autograd key.
        with torch.no_grad():
            return self._bags(*self._batches[b])

    def _step(self, b):
        self._bags(*self._batches[b]).backward(self._gradients)

    def call(self, kind, batch):
        function = self._step if kind == "step" else self._forward
        return lambda: function(batch)

    def outputs(self, batch):
        w = self.workload
        output = self._forward(batch).numpy()
        return output.reshape(w.batch, w.tables, w.dim).transpose(1, 0, 2)


if __name__ == "__main__":
    serve(FbgemmTbe)
