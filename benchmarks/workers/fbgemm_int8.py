"""FBGEMM's inference embeddings of int8 rows on CPU."""

from importlib import metadata

import fbgemm_gpu.split_table_batched_embeddings_ops_inference as inference
import numpy as np
import torch
from fbgemm_gpu.split_embedding_configs import SparseType
from fbgemm_gpu.split_table_batched_embeddings_ops_common import (
    BoundsCheckMode,
    EmbeddingLocation,
    PoolingMode,
)

from benchmarks.worker import System, serve


class FbgemmInt8(System):
    def __init__(self, inputs):
        super().__init__(inputs)
        w = self.workload
        torch.set_num_threads(self.setting.threads)
        self._bags = inference.IntNBitTableBatchedEmbeddingBagsCodegen(
            [
                ("", w.rows, w.dim, SparseType.INT8, EmbeddingLocation.HOST)
                for _ in range(w.tables)
            ],
            pooling_mode=(
                PoolingMode.MEAN if w.combiner == "mean" else PoolingMode.SUM
            ),
            device="cpu",
            output_dtype=SparseType.FP32,
            bounds_check_mode=BoundsCheckMode.NONE,
        )
        self._bags.initialize_weights()
        for t, (codes, scale_bias) in enumerate(self._bags.split_embedding_weights()):
            rows = inputs.table(t)
            low, high = rows.min(1, keepdims=True), rows.max(1, keepdims=True)
            pair = np.concatenate([(high - low) / 255, low], 1).astype(np.float16)
            scale, bias = pair.astype(np.float32).T[:, :, np.newaxis]
            rounded = np.clip(np.rint((rows - bias) / scale), 0, 255)
            codes.copy_(torch.from_numpy(rounded.astype(np.uint8)))
            scale_bias.copy_(torch.from_numpy(pair.view(np.uint8)))
        self._batches = [self._tensors(batch) for batch in inputs.batches]

    @staticmethod
    def versions():
        return f"fbgemm-gpu-cpu {metadata.version('fbgemm-gpu-cpu')}"

    @staticmethod
    def _tensors(batch):
        offsets = np.append(batch.splits[:, :-1].ravel(), len(batch.ids))
        weights = None if batch.weights is None else torch.from_numpy(batch.weights)
        return (
            torch.from_numpy(batch.ids.astype(np.int32)),
            torch.from_numpy(offsets.astype(np.int32)),
            weights,
        )

    def _forward(self, b):
        with torch.no_grad():
            return self._bags(*self._batches[b])

    def call(self, kind, batch):
        return lambda: self._forward(batch)

    def outputs(self, batch):
        w = self.workload
        output = self._forward(batch).numpy()
        return output.reshape(w.batch, w.tables, w.dim).transpose(1, 0, 2)


if __name__ == "__main__":
    serve(FbgemmInt8)
