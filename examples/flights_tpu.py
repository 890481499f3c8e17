#!/usr/bin/env python3
"""Trains a DLRM on a TPU: which flights arrive late?

An ordinary TPUStrategy program with TensorFlow's TPUEmbedding. On a TPU VM:

  flights_tpu.py --tpu=local

and where there is no TPU:

  python -m tf_embed.run --cores 2 flights_tpu.py
"""

from __future__ import annotations

import pathlib
import time
from typing import Any

import flights_data
import flights_options
import numpy as np
import tensorflow as tf
from flights_data import CATEGORIES, Flights, Split
from sklearn import metrics

GLOBAL_BATCH = 1024
WIDTH = 8  # of an embedding, and of what the dense numbers become
STEPS_PER_CALL = 55  # the host is asked only every so often
SEED = 1

# Column -> table. The last routes of the aircraft share the table of its route.
FEATURES = {**CATEGORIES, "history": "route"}


class DLRM(tf.Module):
    """Embeddings and dense numbers meet in products of pairs."""

    def __init__(self, dense: flights_data.Dense):
        super().__init__()
        self.dense = dense
        layer = tf.keras.layers.Dense
        self.bottom = tf.keras.Sequential([layer(32, "relu"), layer(WIDTH, "relu")])
        self.top = tf.keras.Sequential([layer(64, "relu"), layer(32, "relu"), layer(1)])

    @property
    def trainable_variables(self) -> list[tf.Variable]:
        return self.bottom.trainable_variables + self.top.trainable_variables

    def __call__(
        self, numbers: tf.Tensor, embeddings: dict[str, tf.Tensor]
    ) -> tf.Tensor:
        """[B, numbers], column -> [B, WIDTH] -> logits [B]."""
        numbers = self.dense(numbers)
        vectors = tf.stack([self.bottom(numbers), *embeddings.values()], axis=1)
        products = tf.matmul(vectors, vectors, transpose_b=True)
        size = 1 + len(embeddings)
        pairs = [i * size + j for i in range(size) for j in range(i)]
        products = tf.gather(tf.reshape(products, [-1, size * size]), pairs, axis=1)
        flat = tf.reshape(vectors, [-1, size * WIDTH])
        return tf.squeeze(self.top(tf.concat([numbers, flat, products], 1)), axis=1)


def feature_config(flights: Flights, batch: int | None) -> dict[str, Any]:
    embedding = tf.tpu.experimental.embedding
    tables = {
        table: embedding.TableConfig(
            vocabulary_size=len(flights.vocabulary[column]) + 1,
            dim=WIDTH,
            initializer=tf.random_normal_initializer(stddev=0.05, seed=i),
            combiner="mean",
            name=table,
        )
        for i, (column, table) in enumerate(CATEGORIES.items())
    }
    return {
        column: embedding.FeatureConfig(
            table=tables[table], name=column, output_shape=batch and [batch]
        )
        for column, table in FEATURES.items()
    }


def batches(split: Split, batch: int, *, training: bool) -> tf.data.Dataset:
    """Batches of (column -> ragged ids, numbers, labels)."""
    columns = {
        column: tf.RaggedTensor.from_row_lengths(ids, np.ones(len(ids), np.int64))
        for column, ids in split.ids.items()
    }
    columns["history"] = tf.RaggedTensor.from_row_splits(
        split.history_ids, split.history_splits
    )

    def look_up(rows: tf.Tensor) -> tuple[dict[str, Any], tf.Tensor, tf.Tensor]:
        ids = {column: tf.gather(values, rows) for column, values in columns.items()}
        return ids, tf.gather(split.numbers, rows), tf.gather(split.labels, rows)

    data = tf.data.Dataset.range(len(split))
    if training:
        data = data.shuffle(len(split), seed=SEED).repeat()
    else:  # filled up to whole batches
        data = data.concatenate(tf.data.Dataset.range(-len(split) % GLOBAL_BATCH))
    return data.batch(batch, drop_remainder=True).map(look_up).prefetch(2)


class Trainer:
    def __init__(self, strategy: tf.distribute.TPUStrategy, flights: Flights):
        self.strategy = strategy
        with strategy.scope():
            tf.keras.utils.set_random_seed(SEED)
            self.model = DLRM(flights_data.Dense(flights.train.numbers))
            self.optimizer = tf.keras.optimizers.Adam(1e-3)
            self.embedding = tf.tpu.experimental.embedding.TPUEmbedding(
                feature_config(flights, GLOBAL_BATCH // strategy.num_replicas_in_sync),
                tf.tpu.experimental.embedding.Adagrad(learning_rate=0.01),
            )

    def distribute(self, split: Split, *, training: bool) -> Any:
        """An iterator; each replica gets its part of a global batch."""

        def dataset(context: tf.distribute.InputContext) -> tf.data.Dataset:
            batch = context.get_per_replica_batch_size(GLOBAL_BATCH)
            return batches(split, batch, training=training)

        return iter(
            self.strategy.distribute_datasets_from_function(
                dataset,
                # Ids go to the embedding engine, which the host feeds.
                tf.distribute.InputOptions(experimental_fetch_to_device=False),
            )
        )

    @tf.function
    def train(self, iterator: Any, steps: tf.Tensor) -> tf.Tensor:
        """Mean loss of a number of steps."""

        def step(numbers: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
            activations = self.embedding.dequeue()
            with tf.GradientTape() as tape:
                tape.watch(activations)
                logits = self.model(numbers, activations)
                losses = tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)
                loss = tf.reduce_sum(losses) / GLOBAL_BATCH
            variables = self.model.trainable_variables
            of_model, of_tables = tape.gradient(loss, (variables, activations))
            self.optimizer.apply_gradients(zip(of_model, variables, strict=True))
            # The tables learn from the sum over the batch, not from its mean.
            self.embedding.apply_gradients(
                tf.nest.map_structure(lambda g: GLOBAL_BATCH * g, of_tables)
            )
            return loss

        total = 0.0
        for _ in tf.range(steps):
            ids, numbers, labels = next(iterator)
            self.embedding.enqueue(ids, training=True)
            losses = self.strategy.run(step, (numbers, labels))
            total += self.strategy.reduce("sum", losses, axis=None)
        return total / tf.cast(steps, tf.float32)

    @tf.function
    def _predict(self, iterator: Any) -> tf.Tensor:
        def step(numbers: tf.Tensor) -> tf.Tensor:
            return tf.sigmoid(self.model(numbers, self.embedding.dequeue()))

        ids, numbers, _ = next(iterator)
        self.embedding.enqueue(ids, training=False)
        return self.strategy.gather(self.strategy.run(step, (numbers,)), axis=0)

    def predict(self, split: Split) -> np.ndarray:
        """Probabilities of being late, [N]."""
        iterator = self.distribute(split, training=False)
        steps = -(-len(split) // GLOBAL_BATCH)
        parts = [self._predict(iterator).numpy() for _ in range(steps)]
        return np.concatenate(parts)[: len(split)]


def served(trainer: Trainer, flights: Flights, folder: pathlib.Path) -> Any:
    """The trained model, exported for a machine without a TPU and loaded again."""
    path = str(folder / "tpu.checkpoint")
    tf.train.Checkpoint(model=trainer.model, embedding=trainer.embedding).write(path)
    model = DLRM(flights_data.Dense(flights.train.numbers))
    embedding = tf.tpu.experimental.embedding.TPUEmbeddingForServing(
        feature_config(flights, batch=None), optimizer=None
    )

    @tf.function(
        input_signature=[
            {
                column: tf.RaggedTensorSpec(
                    [None, None], tf.int64, row_splits_dtype="int64"
                )
                for column in FEATURES
            },
            tf.TensorSpec([None, len(flights_data.NUMBERS)], tf.float32),
        ]
    )
    def late(ids: dict[str, tf.RaggedTensor], numbers: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(model(numbers, embedding.embedding_lookup(ids)))

    late.get_concrete_function()  # makes the variables
    restored = tf.train.Checkpoint(model=model, embedding=embedding).read(path)
    restored.assert_existing_objects_matched().expect_partial()
    module = tf.Module()
    module.model, module.embedding, module.late = model, embedding, late
    tf.saved_model.save(module, str(folder / "tpu_model"))
    return tf.saved_model.load(str(folder / "tpu_model"))


def main() -> None:
    parser = flights_options.parser(__doc__)
    parser.add_argument("--tpu", help="name of the TPU; default: $TPU_NAME")
    options = flights_options.parse(parser)

    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=options.tpu)
    tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    strategy = tf.distribute.TPUStrategy(resolver)
    print(f"TPU with {strategy.num_replicas_in_sync} cores", flush=True)

    flights = flights_data.load()
    trainer = Trainer(strategy, flights)
    iterator = trainer.distribute(flights.train, training=True)
    begin = time.monotonic()
    calls = options.epochs * len(flights.train) // (GLOBAL_BATCH * STEPS_PER_CALL)
    for call in range(1, calls + 1):
        loss = float(trainer.train(iterator, tf.constant(STEPS_PER_CALL)))
        print(
            f"step {call * STEPS_PER_CALL:4}: loss {loss:.4f}"
            f" ({time.monotonic() - begin:.0f} s)",
            flush=True,
        )

    predicted = trainer.predict(flights.test)
    auc = metrics.roc_auc_score(flights.test.labels, predicted)
    loss = metrics.log_loss(flights.test.labels, predicted.astype(np.float64))
    print(f"November and December: loss {loss:.4f}, AUC {auc:.4f}")

    model = served(trainer, flights, options.out)
    ids, numbers, _ = next(iter(batches(flights.test, GLOBAL_BATCH, training=False)))
    # The same float32 sums, but not always in the same order.
    np.testing.assert_allclose(
        model.late(ids, numbers), predicted[:GLOBAL_BATCH], rtol=1e-4, atol=1e-6
    )
    print(f"exported for serving without a TPU: {options.out / 'tpu_model'}")


if __name__ == "__main__":
    main()
