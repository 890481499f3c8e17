"""FBGEMM's inference embeddings on CPU with int8 rows."""

from importlib import metadata

import numpy as np
import torch
from fbgemm_gpu.split_embedding_configs import SparseType
from fbgemm_gpu.split_table_batched_embeddings_ops_common import (
    BoundsCheckMode,
    EmbeddingLocation,
    PoolingMode,
)
from fbgemm_gpu.split_table_batched_embeddings_ops_inference import (
    IntNBitTableBatchedEmbeddingBagsCodegen,
)

from benchmarks.worker import System, serve


def _quantize(table):
    """Codes, and float16 scale and bias as bytes, of each row."""
    bias = table.min(1, keepdims=True).astype(np.float16)
    scale = ((table.max(1, keepdims=True) - bias) / 255).astype(np.float16)
    codes = np.rint((table - bias.astype(np.float32)) / scale.astype(np.float32))
    scale_and_bias = np.concatenate([scale, bias], 1).view(np.uint8)
    return codes.clip(0, 255).astype(np.uint8), scale_and_bias


class FbgemmInt8(System):
    def __init__(self, inputs):
        super().__init__(inputs)
        w = self.workload
        torch.set_num_threads(self.setting.threads)
        self._bags = IntNBitTableBatchedEmbeddingBagsCodegen(
            [
                (f"table{t}", w.rows, w.dim, SparseType.INT8, EmbeddingLocation.HOST)
                for t in range(w.tables)
            ],
            pooling_mode=(
                PoolingMode.MEAN if w.combiner == "mean" else PoolingMode.SUM
            ),
            device="cpu",
            output_dtype=SparseType.FP32,
            bounds_check_mode=BoundsCheckMode.NONE,
        )
        self._bags.initialize_weights()
        for t, (codes, scale_and_bias) in enumerate(
            self._bags.split_embedding_weights()
        ):
            for target, values in zip(
                (codes, scale_and_bias), _quantize(inputs.table(t)), strict=True
            ):
                target.copy_(torch.from_numpy(values))
        self._batches = [self._tensors(batch) for batch in inputs.batches]

    @staticmethod
    def versions():
        return f"fbgemm-gpu-cpu {metadata.version('fbgemm-gpu-cpu')}"

    @staticmethod
    def _tensors(batch):
        # It takes 32-bit ids.
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
        if kind != "forward":
            raise ValueError(f"FBGEMM's int8 tables have no {kind}")
        return lambda: self._forward(batch)

    def outputs(self, batch):
        w = self.workload
        output = self._forward(batch).numpy()
        return output.reshape(w.batch, w.tables, w.dim).transpose(1, 0, 2)


if __name__ == "__main__":
    serve(FbgemmInt8)
