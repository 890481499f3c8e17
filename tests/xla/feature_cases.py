"""Features of every form, for tests of lookups."""

import numpy as np
import tensorflow as tf

from tf_embed.serving._fused_lookup import FusedFeature


def ids_of(rng, size, vocabulary):
    return tf.constant(rng.integers(0, vocabulary, size), tf.int64)


def padded(rng, batch, length, vocabulary):
    """[B, L] ids of which some are -1, as a sparse feature of static shape."""
    ids = rng.integers(0, vocabulary, batch * length)
    ids[rng.random(ids.size) < 0.3] = -1
    rows, columns = np.divmod(np.arange(ids.size), length)
    return dict(
        form="sparse_safe",
        ids=tf.constant(ids, tf.int64),
        indices=tf.constant(np.stack([rows, columns], 1), tf.int64),
        dense_shape=tf.constant([batch, length], tf.int64),
    )


def ragged(rng, form, batch, vocabulary):
    lengths = rng.integers(0, 5, batch)
    splits = np.concatenate([[0], np.cumsum(lengths)])
    return dict(
        form=form,
        ids=ids_of(rng, splits[-1], vocabulary),
        indices=tf.constant(splits, tf.int32),
        sequence_length=3 if form == "ragged_sequence" else 0,
    )


def sequence(rng, batch, vocabulary):
    coordinates = np.argwhere(rng.random([batch, 5]) < 0.5)
    return dict(
        form="sparse_sequence",
        ids=ids_of(rng, len(coordinates), vocabulary),
        indices=tf.constant(coordinates, tf.int64),
        dense_shape=tf.constant([batch, 5], tf.int64),
        sequence_length=3,
    )


def random_features(rng, tables):
    """A feature of each form for each combiner, with and without weights."""
    features = []
    for combiner in ("sum", "mean", "sqrtn"):
        for weighted in (False, True):
            for form in ("padded", "ragged", "ragged_sequence", "sequence", "dense"):
                table = tables[rng.integers(len(tables))]
                vocabulary = table.shape[0]
                batch = int(rng.integers(1, 7))
                if form == "padded":
                    arguments = padded(rng, batch, 4, vocabulary)
                elif form == "sequence":
                    arguments = sequence(rng, batch, vocabulary)
                elif form == "dense":
                    arguments = dict(
                        form="dense", ids=ids_of(rng, [batch, 2], vocabulary)
                    )
                else:
                    arguments = ragged(rng, form, batch, vocabulary)
                if weighted and form != "dense":
                    size = arguments["ids"].shape[0]
                    # Some are 0 or cancel out.
                    weights = rng.integers(-2, 5, size) / 2
                    arguments["weights"] = tf.constant(weights, tf.float32)
                features.append(
                    FusedFeature(
                        name=f"{form}_{len(features)}",
                        table=table,
                        combiner=combiner,
                        **arguments,
                    )
                )
    return features


def update_features(rng, table):
    """Of ids from a few rows, so that they repeat; and no id at all."""
    return [
        FusedFeature("a", table, combiner="mean", **padded(rng, 6, 5, 12)),
        FusedFeature("b", table, combiner="sum", **ragged(rng, "ragged", 5, 12)),
        FusedFeature("c", table, form="dense", combiner="sum",
                     ids=tf.constant([table.shape[0] - 1, 3, 3])),
    ]  # fmt: skip


def random_tables(rng, count=2):
    return [
        tf.Variable(
            rng.normal(size=[int(rng.integers(5, 40)), int(rng.integers(1, 9))]),
            dtype=tf.float32,
        )
        for _ in range(count)
    ]
