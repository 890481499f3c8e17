"""The engine of this process: its counters, its settings, its end."""

from tf_embed import _engine
from tf_embed.engine_stats_pb2 import EngineStats


def stats() -> EngineStats:
    """Returns the counters of the embedding engine since it was configured.

    Returns:
      A `tf_embed.EngineStats` message: per table the ids looked up and updated,
      the rows updated and the bytes held; the batches waiting at each core; the
      batches, the steps and the nanoseconds spent in each stage. `configured`
      is false, and all else 0, where there is no engine.

    Example:

    >>> import tf_embed
    >>> _ = tf_embed.shutdown()
    >>> tf_embed.stats().configured
    False
    """
    return EngineStats.FromString(_engine.stats())


def shutdown(reason: str = "tf_embed.shutdown() was called") -> bool:
    """Shuts the embedding engine down and frees its tables.

    Ops that wait for a batch fail with AbortedError, which quotes `reason`, and
    later ones with FailedPreconditionError until the engine is configured
    again.

    Args:
      reason: str, for the error of the ops that wait.

    Returns:
      Whether there was an engine.

    Example:

    >>> import tf_embed
    >>> tf_embed.shutdown() and tf_embed.stats().configured
    False
    """
    return _engine.shutdown(reason)


def discard_batches() -> int:
    """Drops the batches of steps that did not come to their end.

    A training step that fails between its Recv and its Send leaves the engine
    with a batch that waits for gradients, and other cores with a step that is
    sent in part; the next Send is then refused. This drops all batches that
    were enqueued, or received and not sent, on all cores, so that training can
    go on with the next batch that is enqueued. Tables and slot variables keep
    what complete steps have made of them.

    Returns:
      How many batches were dropped.

    Example:

    >>> import tf_embed
    >>> tf_embed.discard_batches()
    0
    """
    return _engine.discard_batches()


def set_recv_timeout(seconds: float | None) -> None:
    """Limits how long an op waits for its batch, for the whole process.

    Holds for ops that begin to wait from now on. The environment variable
    TF_EMBED_RECV_TIMEOUT_S sets the limit before the first call.

    Args:
      seconds: float, > 0; past it the op fails with DeadlineExceededError.
        None: no limit, as a TPU has none.

    Raises:
      ValueError: `seconds` is not above 0.

    Example:

    >>> import tf_embed
    >>> tf_embed.set_recv_timeout(30)
    >>> tf_embed.recv_timeout()
    30.0
    >>> tf_embed.set_recv_timeout(None)
    """
    if seconds is not None and not seconds > 0:
        raise ValueError(f"seconds is {seconds}, must be above 0, or None")
    _engine.set_recv_timeout(0.0 if seconds is None else float(seconds))


def recv_timeout() -> float | None:
    """Returns the limit that `tf_embed.set_recv_timeout` set.

    Returns:
      Seconds, or None where ops wait for ever.

    Example:

    >>> import tf_embed
    >>> tf_embed.recv_timeout() is None
    True
    """
    return round(_engine.recv_timeout(), 9) or None


def set_prune_negative_ids(prune: bool) -> None:
    """Whether engines drop negative ids instead of refusing them.

    Holds for engines that are configured from now on. The environment variable
    TF_EMBED_PRUNE_NEGATIVE_IDS=1 turns it on.

    Args:
      prune: bool. True: an id below 0 counts as not there, as in
        `tf.nn.safe_embedding_lookup_sparse`. False, the default: it is an
        InvalidArgumentError.

    Example:

    >>> import tf_embed
    >>> tf_embed.set_prune_negative_ids(False)
    """
    _engine.set_prune_negative_ids(prune)
