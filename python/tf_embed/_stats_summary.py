"""The engine's counters as TensorBoard scalars."""

from collections.abc import Iterator

import tensorflow as tf

from tf_embed import _process
from tf_embed.engine_stats_pb2 import EngineStats


def _scalars(stats: EngineStats) -> Iterator[tuple[str, float]]:
    for table in stats.tables:
        for counter in (
            "table_bytes",
            "ids_looked_up",
            "ids_updated",
            "rows_updated",
        ):
            yield f"tables/{table.name}/{counter}", getattr(table, counter)
    for core, depth in enumerate(stats.queue_depth):
        yield f"queue_depth/core_{core}", depth
    for counter in (
        "batches_enqueued",
        "batches_received",
        "steps_completed",
        "negative_ids_pruned",
    ):
        yield counter, getattr(stats, counter)
    for stage in ("enqueue", "lookup", "update"):
        yield f"{stage}_seconds", getattr(stats, f"{stage}_ns") * 1e-9


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
        "<prefix>/queue_depth/core_0", "<prefix>/lookup_seconds", ...

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
