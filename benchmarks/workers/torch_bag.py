"""torch.nn.EmbeddingBag, sparse gradients, torch.optim."""

import torch

from benchmarks import workloads
from benchmarks.worker import System, serve


class TorchBag(System):
    def __init__(self, inputs):
        super().__init__(inputs)
        w = self.workload
        torch.set_num_threads(self.setting.threads)
        self._bags = []
        for t in range(w.tables):
            weights = torch.empty(w.rows, w.dim)
            inputs.fill(t, weights.numpy())
            self._bags.append(
                torch.nn.EmbeddingBag.from_pretrained(
                    weights,
                    freeze=False,
                    mode=w.combiner,
                    sparse=True,
                    include_last_offset=True,
                )
            )
        self._gradients = list(torch.from_numpy(inputs.gradients))
        self._optimizer = self._make_optimizer()
        self._batches = [self._tensors(batch) for batch in inputs.batches]

    @staticmethod
    def versions():
        return f"torch {torch.__version__}"

    def _make_optimizer(self):
        parameters = [bag.weight for bag in self._bags]
        rate = workloads.LEARNING_RATE
        if self.setting.optimizer == "sgd":
            return torch.optim.SGD(parameters, rate)
        if self.setting.optimizer == "adagrad":
            return torch.optim.Adagrad(
                parameters,
                rate,
                initial_accumulator_value=workloads.INITIAL_ACCUMULATOR,
            )
        if self.setting.optimizer == "adam":
            adam = workloads.ADAM
            return torch.optim.SparseAdam(
                parameters, rate, (adam["beta_1"], adam["beta_2"]), adam["epsilon"]
            )
        return None

    def _tensors(self, batch):
        tensors = []
        for t in range(self.workload.tables):
            ids, splits, weights = batch.of_table(t)
            weights = None if weights is None else torch.from_numpy(weights)
            tensors.append((torch.from_numpy(ids), torch.from_numpy(splits), weights))
        return tensors

    def _look_up(self, b):
        return [
            bag(ids, splits, weights)
            for bag, (ids, splits, weights) in zip(
                self._bags, self._batches[b], strict=True
            )
        ]

    def _forward(self, b):
        with torch.inference_mode():
            return self._look_up(b)

    def _step(self, b):
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self._look_up(b), self._gradients)
        self._optimizer.step()

    def call(self, kind, batch):
        function = self._step if kind == "step" else self._forward
        return lambda: function(batch)


if __name__ == "__main__":
    serve(TorchBag)
