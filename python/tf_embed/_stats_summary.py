"""The engine's counters as TensorBoard scalars."""

from collections.abc import Iterator

import tensorflow as tf

from tf_embed import _process
from tf_embed.engine_stats_pb2 import EngineStats, TableStats


def _counters(message: EngineStats | TableStats) -> Iterator[tuple[str, float]]:
    """The numbers of a message that are not lists; times in seconds."""
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if type(value) is not int:
            continue
        stage = field.name.removesuffix("_ns")
        if stage == field.name:
            yield field.name, value
        else:
            yield f"{stage}_seconds", value * 1e-9


def _scalars(stats: EngineStats) -> Iterator[tuple[str, float]]:
    for table in stats.tables:
        for counter, value in _counters(table):
            yield f"tables/{table.name}/{counter}", value
    for core, depth in enumerate(stats.queue_depth):
        yield f"queue_depth/core_{core}", depth
    yield from _counters(stats)


def write_stats_summary(
    step: int, *, stats: EngineStats | None = None, prefix: str = "tf_embed"
) -> bool:
    """Writes the engine's counters as scalars to the default summary writer.

    Counters are totals since the engine was configured. TensorBoard itself is
    not needed to write.

    Args:
      step: int, the step to show them at.
      stats: what to write; by default `tf_embed.stats()`.
      prefix: str, first part of the tags: "<prefix>/tables/<table>/ids_looked_up",
        "<prefix>/tables/<table>/lookup_seconds", "<prefix>/queue_depth/core_0",
        "<prefix>/lookup_seconds", ...

    Returns:
      Whether anything was written: not without an engine or a default writer.

    Example:

    >>> import tempfile, tensorflow as tf, tf_embed
    >>> _ = tf_embed.shutdown()
    >>> with tf.summary.create_file_writer(tempfile.mkdtemp()).as_default():
    ...     tf_embed.write_stats_summary(step=1)
    False
    """
    stats = _process.stats() if stats is None else stats
    if not stats.configured:
        return False
    metadata = tf.compat.v1.SummaryMetadata()
    metadata.plugin_data.plugin_name = "scalars"
    metadata.data_class = 1  # DATA_CLASS_SCALAR, which has no public name
    written = True
    for tag, value in _scalars(stats):
        written &= bool(
            tf.summary.write(
                f"{prefix}/{tag}",
                tf.constant(value, tf.float32),
                step=step,
                metadata=metadata,
            )
        )
    return written
