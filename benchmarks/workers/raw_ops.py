"""tf_embed's raw ops: enqueue, recv, send in one tf.function.

    python -m benchmarks.workers.raw_ops [loop]

With "loop", several batches a call, which the function takes from a tf.data
iterator, as programs for TPUs do.
"""

import sys

import tensorflow as tf
from tensorflow.core.protobuf.tpu import tpu_embedding_configuration_pb2

import tf_embed
from benchmarks import workloads
from benchmarks.worker import System, serve
from benchmarks.workers.tf_setup import set_threads
from tf_embed import raw_ops


class RawOps(System):
    def __init__(self, inputs):
        super().__init__(inputs)
        set_threads(self.setting.threads)
        w = self.workload
        config = self._config()
        raw_ops.ConfigureTPUEmbedding(config=config)
        self._serialized = config.SerializeToString()
        self._load(config)
        self._combiners = [] if w.one_id else [w.combiner] * w.tables
        self._batches = [self._tensors(batch) for batch in inputs.batches]
        self._functions = {
            kind: tf.function(function, autograph=False).get_concrete_function(
                *(tf.TensorSpec([None], x.dtype) for x in self._batches[0])
            )
            for kind, function in (
                ("forward", self._forward),
                ("step", self._step),
                ("empty", self._empty),
            )
        }

    @staticmethod
    def versions():
        return f"tf_embed {tf_embed.__version__} on TensorFlow {tf.__version__}"

    def _config(self):
        w = self.workload
        config = tpu_embedding_configuration_pb2.TPUEmbeddingConfiguration(
            mode="TRAINING", num_hosts=1, num_tensor_cores=1
        )
        for t in range(w.tables):
            table = config.table_descriptor.add(
                name=f"table{t}", vocabulary_size=w.rows, dimension=w.dim
            )
            parameters = table.optimization_parameters
            parameters.learning_rate.constant = workloads.LEARNING_RATE
            if self.setting.optimizer == "adagrad":
                parameters.adagrad.SetInParent()
            elif self.setting.optimizer == "adam":
                adam = workloads.ADAM
                parameters.adam.beta1 = adam["beta_1"]
                parameters.adam.beta2 = adam["beta_2"]
                parameters.adam.epsilon = adam["epsilon"]
            elif self.setting.optimizer == "ftrl":
                parameters.ftrl.l1 = workloads.FTRL["l1"]
                parameters.ftrl.l2 = workloads.FTRL["l2"]
                parameters.ftrl.lr_power = -0.5
            else:
                parameters.stochastic_gradient_descent.SetInParent()
            config.feature_descriptor.add(
                name=f"feature{t}", table_id=t, input_shape=[w.batch]
            )
        return config

    def _load(self, config):
        w = self.workload

        def slot(value):
            return tf.fill([w.rows, w.dim], tf.constant(value, tf.float32))

        accumulator = workloads.INITIAL_ACCUMULATOR
        name, slots = {
            "adagrad": ("Adagrad", {"accumulators": accumulator}),
            "adam": ("ADAM", {"momenta": 0, "velocities": 0}),
            "ftrl": ("FTRL", {"accumulators": accumulator, "linears": 0}),
        }.get(self.setting.optimizer, ("StochasticGradientDescent", {}))
        load = getattr(raw_ops, f"LoadTPUEmbedding{name}Parameters")
        for t in range(w.tables):
            load(
                parameters=self.inputs.table(t),
                **{key: slot(value) for key, value in slots.items()},
                table_name=f"table{t}",
                num_shards=1,
                shard_id=0,
                config=config.SerializeToString(),
            )

    def _tensors(self, batch):
        """What differs from batch to batch: ids of each table, splits, weights."""
        columns = [batch.of_table(t) for t in range(self.workload.tables)]
        ids, splits, weights = zip(*columns, strict=True)
        flat = [*ids]
        if not self.workload.one_id:
            flat += splits
        if self.workload.weighted:
            flat += weights
        return [tf.constant(x) for x in flat]

    def _look_up(self, flat, mode):
        n = self.workload.tables
        rest = list(flat)
        ids = [rest.pop(0) for _ in range(n)]
        # Without splits, a feature is dense: one id a sample.
        splits = [tf.zeros([0], tf.int64)] * n
        if not self.workload.one_id:
            splits = [rest.pop(0) for _ in range(n)]
        weights = [tf.zeros([0])] * n
        if self.workload.weighted:
            weights = [rest.pop(0) for _ in range(n)]
        enqueue = raw_ops.EnqueueTPUEmbeddingArbitraryTensorBatch(
            sample_indices_or_row_splits=splits,
            embedding_indices=ids,
            aggregation_weights=weights,
            mode_override=mode,
            device_ordinal=0,
            combiners=self._combiners,
        )
        with tf.control_dependencies([enqueue]):
            return raw_ops.RecvTPUEmbeddingActivations(
                num_outputs=n, config=self._serialized
            )

    def _forward(self, *flat):
        return self._look_up(flat, "inference")

    def _step(self, *flat):
        activations = self._look_up(flat, "train")
        # Made in the function, as gradients are, not handed to it at each call.
        gradients = [tf.constant(x) for x in self.inputs.gradients]
        with tf.control_dependencies(activations):
            raw_ops.SendTPUEmbeddingGradients(
                inputs=gradients, learning_rates=[], config=self._serialized
            )

    def _empty(self, *flat):
        del flat
        w = self.workload
        return [tf.zeros([w.batch, w.dim])] * w.tables

    def call(self, kind, batch):
        function, flat = self._functions[kind], self._batches[batch]
        return lambda: function(*flat)


class RawOpsLoop(RawOps):
    calls_at_once = 8

    def __init__(self, inputs):
        super().__init__(inputs)
        specs = tuple(tf.TensorSpec([None], x.dtype) for x in self._batches[0])
        options = tf.data.Options()
        options.autotune.enabled = False
        options.threading.private_threadpool_size = self.setting.threads
        self._dataset = (
            tf.data.Dataset.from_generator(
                lambda: map(tuple, self._batches), output_signature=specs
            )
            .cache()
            .with_options(options)
        )
        self._rotating = iter(self._dataset.repeat())
        self._loops = {
            "forward": self._loop(self._forward),
            "step": self._loop(self._step),
        }

    @staticmethod
    def _loop(function):
        function = tf.autograph.experimental.do_not_convert(function)

        @tf.function
        def loop(iterator, count):
            for _ in tf.range(count):
                function(*next(iterator))

        return loop

    def call(self, kind, batch):
        if kind == "forward":
            return super().call(kind, batch)  # which gives its outputs
        loop = self._loops[kind]
        return lambda: loop(iter(self._dataset.skip(batch)), tf.constant(1))

    def timed(self, kind, batch):
        del batch  # the iterator goes from one to the next
        loop, count = self._loops[kind], tf.constant(self.calls_at_once)
        return lambda: loop(self._rotating, count)

    def warm_up(self):
        # Fills the dataset's cache.
        self._loops["forward"](self._rotating, tf.constant(len(self._batches)))


if __name__ == "__main__":
    serve(RawOpsLoop if "loop" in sys.argv[1:] else RawOps)
