"""The trained network as a plain SavedModel: stock ops, no engine, no plugin."""

from __future__ import annotations

import pathlib

import numpy as np
import tensorflow as tf
from flights_data import CATEGORIES, HISTORY, NUMBERS, Split
from flights_model import Embedded


class Served(tf.Module):
    """Takes columns as a person would write them, strings included."""

    def __init__(self, model: Embedded, vocabulary: dict[str, list[str]]):
        super().__init__()
        self.network = model.network
        self.dense = model.dense
        model.retrieve_tables()
        self.tables = {name: tf.Variable(v) for name, v in model.parameters.items()}
        self.rows = {
            column: tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    values, tf.range(1, len(values) + 1, dtype=tf.int64)
                ),
                default_value=0,
            )
            for column, values in vocabulary.items()
        }

    @tf.function
    def late(self, **columns: tf.Tensor) -> dict[str, tf.Tensor]:
        """Probability that each of n flights arrives late."""
        numbers = tf.stack([columns[name] for name in NUMBERS], axis=1)
        inputs = [self.dense(numbers)]
        for column, table in CATEGORIES.items():
            rows = self.rows[column].lookup(columns[column])
            inputs.append(tf.gather(self.tables[table], rows))
        routes = columns["history"]  # [n, HISTORY], "" where none
        present = tf.cast(routes != "", tf.float32)[..., tf.newaxis]
        values = tf.gather(self.tables["route"], self.rows["route"].lookup(routes))
        inputs.append(
            tf.math.divide_no_nan(
                tf.reduce_sum(present * values, axis=1),
                tf.reduce_sum(present, axis=1),
            )
        )
        return {"late": tf.sigmoid(self.network(tf.concat(inputs, axis=1)))}


def export(
    model: Embedded, vocabulary: dict[str, list[str]], folder: pathlib.Path
) -> None:
    served = Served(model, vocabulary)
    specs = {name: tf.TensorSpec([None], tf.float32, name) for name in NUMBERS}
    specs |= {name: tf.TensorSpec([None], tf.string, name) for name in CATEGORIES}
    specs["history"] = tf.TensorSpec([None, HISTORY], tf.string, "history")
    tf.saved_model.save(
        served,
        str(folder),
        signatures={"serving_default": served.late.get_concrete_function(**specs)},
    )


def questions(
    split: Split, chosen: np.ndarray, vocabulary: dict[str, list[str]]
) -> dict[str, list]:
    """The columns of the chosen flights, as the exported model takes them."""
    rows = split.rows.iloc[chosen]
    columns = {name: rows[name].tolist() for name in [*NUMBERS, *CATEGORIES]}
    # A route that is not in the vocabulary is unknown, but it is a route.
    routes = ["unknown", *vocabulary["route"]]
    splits, ids = split.history(chosen)
    histories = np.split(ids, splits[1:-1])
    columns["history"] = [
        [routes[i] for i in history] + [""] * (HISTORY - len(history))
        for history in histories
    ]
    return columns
