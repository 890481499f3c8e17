"""A click-through-style network, whose tables live in the TPU embedding engine.

The training loop is the one of a TPU program: the host enqueues ids, the step
receives activations, and sends their gradients, which update the tables.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from flights_data import CATEGORIES, Dense, Flights, Split
from tensorflow.core.protobuf.tpu import tpu_embedding_configuration_pb2

from tf_embed import raw_ops

BATCH = 1024
# Table -> width: what has more values to tell apart gets more room.
WIDTHS = {"aircraft": 8, "flight": 8, "route": 8, "carrier": 4, "hour": 4}
FEATURES = {**CATEGORIES, "history": "route"}  # both routes share one table
TABLE_RATE = 0.01
NETWORK_RATE = 1e-3
INITIAL_ACCUMULATOR = 0.1


class Network(tf.Module):
    """The dense part: two hidden layers and a logit."""

    def __init__(self, inputs: int, seed: int):
        super().__init__()
        random = tf.random.Generator.from_seed(seed)
        widths = [inputs, 64, 32, 1]
        self.weights = []
        self.biases = []
        for before, after in zip(widths, widths[1:], strict=False):
            values = random.normal([before, after], stddev=(2 / before) ** 0.5)
            self.weights.append(tf.Variable(values))
            self.biases.append(tf.Variable(tf.zeros(after)))

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """[B, inputs] -> logits [B]."""
        for weights, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = tf.nn.relu(x @ weights + bias)
        return tf.squeeze(x @ self.weights[-1] + self.biases[-1], axis=1)


def loss_of(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(
        tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
    )


class Baseline:
    """The network on the numbers alone."""

    name = "without embeddings"

    def __init__(self, flights: Flights, seed: int):
        self.dense = Dense(flights.train.numbers)
        width = self.dense(flights.train.numbers[:1]).shape[1]
        self.network = Network(width + self.extra_inputs(), seed)
        self.optimizer = tf.keras.optimizers.Adam(NETWORK_RATE)
        self.optimizer.build(self.network.trainable_variables)

    def extra_inputs(self) -> int:
        return 0

    def feed(self, split: Split, chosen: np.ndarray, training: bool) -> None:
        """What the step does not take as an argument."""

    @tf.function
    def _train(self, numbers: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = loss_of(self.network(self.dense(numbers)), labels)
        self.descend(tape.gradient(loss, self.network.trainable_variables))
        return loss

    def descend(self, gradients: list[tf.Tensor]) -> None:
        self.optimizer.apply(gradients, self.network.trainable_variables)

    @tf.function
    def _logits(self, numbers: tf.Tensor) -> tf.Tensor:
        return self.network(self.dense(numbers))

    def train(self, split: Split, chosen: np.ndarray) -> tf.Tensor:
        """One step on BATCH chosen flights; returns the loss."""
        self.feed(split, chosen, training=True)
        return self._train(split.numbers[chosen], split.labels[chosen])

    def predict(self, split: Split) -> np.ndarray:
        """Probabilities of being late, [N]."""
        parts = []
        for chosen, count in batches(len(split)):
            self.feed(split, chosen, training=False)
            logits = self._logits(split.numbers[chosen])
            parts.append(tf.sigmoid(logits)[:count].numpy())
        return np.concatenate(parts)

    def tensors(self) -> dict[str, tf.Variable]:
        """Everything that training changes, for a checkpoint."""
        variables = [*self.network.variables, *self.optimizer.variables]
        return {str(i): variable for i, variable in enumerate(variables)}

    def restored(self) -> None:
        """Takes over what a checkpoint has put into tensors()."""


class Embedded(Baseline):
    """The network on the numbers and on what the tables say."""

    name = "with embeddings"

    def __init__(self, flights: Flights, seed: int):
        super().__init__(flights, seed)
        rows = {
            table: len(flights.vocabulary[column]) + 1
            for column, table in CATEGORIES.items()
        }
        self.config = embedding_config(rows)
        raw_ops.ConfigureTPUEmbedding(config=self.config)
        random = np.random.default_rng(seed)
        # Copies of what the engine holds, for checkpoints and for serving.
        self.parameters = {}
        self.accumulators = {}
        for table, width in WIDTHS.items():
            shape = [rows[table], width]
            start = random.normal(scale=0.05, size=shape).astype(np.float32)
            self.parameters[table] = tf.Variable(start)
            self.accumulators[table] = tf.Variable(tf.fill(shape, INITIAL_ACCUMULATOR))
        self.load_tables()

    def extra_inputs(self) -> int:
        return sum(WIDTHS[table] for table in FEATURES.values())

    def feed(self, split: Split, chosen: np.ndarray, training: bool) -> None:
        """Hands a batch of ids to the engine: one a flight, but for histories."""
        none = np.zeros(0, np.int32)
        splits, history = split.history(chosen)
        raw_ops.EnqueueTPUEmbeddingArbitraryTensorBatch(
            sample_indices_or_row_splits=[none] * len(CATEGORIES) + [splits],
            embedding_indices=[split.ids[column][chosen] for column in CATEGORIES]
            + [history],
            aggregation_weights=[np.zeros(0, np.float32)] * len(FEATURES),
            mode_override="train" if training else "inference",
            device_ordinal=0,
            combiners=["mean"] * len(WIDTHS),
        )

    def activations(self) -> list[tf.Tensor]:
        return raw_ops.RecvTPUEmbeddingActivations(
            num_outputs=len(FEATURES), config=self.config
        )

    @tf.function
    def _train(self, numbers: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        activations = self.activations()
        variables = self.network.trainable_variables
        with tf.GradientTape() as tape:
            tape.watch(activations)
            inputs = tf.concat([self.dense(numbers), *activations], axis=1)
            loss = loss_of(self.network(inputs), labels)
        of_network, of_tables = tape.gradient(loss, (variables, activations))
        self.descend(of_network)
        # The tables learn from the sum over the batch, not from its mean.
        raw_ops.SendTPUEmbeddingGradients(
            inputs=[BATCH * gradient for gradient in of_tables],
            learning_rates=[],
            config=self.config,
        )
        return loss

    @tf.function
    def _logits(self, numbers: tf.Tensor) -> tf.Tensor:
        return self.network(
            tf.concat([self.dense(numbers), *self.activations()], axis=1)
        )

    def load_tables(self) -> None:
        for table in WIDTHS:
            raw_ops.LoadTPUEmbeddingAdagradParameters(
                parameters=self.parameters[table],
                accumulators=self.accumulators[table],
                table_name=table,
                num_shards=1,
                shard_id=0,
            )

    def retrieve_tables(self) -> None:
        for table in WIDTHS:
            parameters, accumulators = raw_ops.RetrieveTPUEmbeddingAdagradParameters(
                table_name=table, num_shards=1, shard_id=0
            )
            self.parameters[table].assign(parameters)
            self.accumulators[table].assign(accumulators)

    def tensors(self) -> dict[str, tf.Variable]:
        self.retrieve_tables()
        tables = {f"{t}/parameters": v for t, v in self.parameters.items()}
        slots = {f"{t}/accumulators": v for t, v in self.accumulators.items()}
        return super().tensors() | tables | slots

    def restored(self) -> None:
        # Configuring anew throws away what the engine held.
        raw_ops.ConfigureTPUEmbedding(config=self.config)
        self.load_tables()


def embedding_config(rows: dict[str, int]) -> bytes:
    """The configuration that the TPU embedding ops take."""
    config = tpu_embedding_configuration_pb2.TPUEmbeddingConfiguration(
        mode=tpu_embedding_configuration_pb2.TPUEmbeddingConfiguration.TRAINING,
        num_hosts=1,
        num_tensor_cores=1,
    )
    for name, width in WIDTHS.items():
        table = config.table_descriptor.add(
            name=name, vocabulary_size=rows[name], dimension=width
        )
        table.optimization_parameters.adagrad.SetInParent()
        table.optimization_parameters.learning_rate.constant = TABLE_RATE
    tables = list(WIDTHS)
    for name, table in FEATURES.items():
        config.feature_descriptor.add(
            name=name, table_id=tables.index(table), input_shape=[BATCH]
        )
    return config.SerializeToString()


def batches(size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Rows of all batches in order; the last one is filled up with row 0."""
    for start in range(0, size, BATCH):
        count = min(BATCH, size - start)
        chosen = np.zeros(BATCH, np.int64)
        chosen[:count] = np.arange(start, start + count)
        yield chosen, count
