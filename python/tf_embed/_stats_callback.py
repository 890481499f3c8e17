"""A Keras callback that shows the engine's counters.

Apart from the rest because it needs Keras, which `import tf_embed` does not.
"""

from typing import Any

import tensorflow as tf

from tf_embed import _stats_summary


class StatsCallback(tf.keras.callbacks.Callback):  # type: ignore[misc]
    """Keras callback that writes the engine's counters for TensorBoard.

    Args:
      log_dir: str, folder of the event files.
      every_batches: int >= 1, training batches between two writings; the end of
        each epoch is written too.

    Raises:
      ValueError: `every_batches` is below 1.

    Example:

    >>> import tempfile, tf_embed
    >>> callback = tf_embed.StatsCallback(tempfile.mkdtemp(), every_batches=50)
    """

    def __init__(self, log_dir: str, every_batches: int = 100) -> None:
        if every_batches < 1:
            raise ValueError(f"every_batches is {every_batches}, must be at least 1")
        super().__init__()
        self._writer = tf.summary.create_file_writer(log_dir)
        self._every_batches = every_batches
        self._batches = 0

    def _write(self) -> None:
        with self._writer.as_default():
            _stats_summary.write_stats_summary(self._batches)

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        self._batches += 1
        if self._batches % self._every_batches == 0:
            self._write()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._batches % self._every_batches:
            self._write()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._writer.flush()
