# Of proto/engine_stats.proto, without what protobuf does not promise.

from collections.abc import Iterable, MutableSequence

from google.protobuf.message import Message

class TableStats(Message):  # type: ignore[misc]
    name: str
    table_bytes: int
    ids_looked_up: int
    ids_updated: int
    rows_updated: int
    ids_enqueued: int
    negative_ids_pruned: int
    unique_ids: int
    bytes_looked_up: int
    bytes_updated: int
    enqueue_ns: int
    lookup_ns: int
    update_ns: int
    load_ns: int
    retrieve_ns: int
    def __init__(
        self,
        *,
        name: str = ...,
        table_bytes: int = ...,
        ids_looked_up: int = ...,
        ids_updated: int = ...,
        rows_updated: int = ...,
        ids_enqueued: int = ...,
        negative_ids_pruned: int = ...,
        unique_ids: int = ...,
        bytes_looked_up: int = ...,
        bytes_updated: int = ...,
        enqueue_ns: int = ...,
        lookup_ns: int = ...,
        update_ns: int = ...,
        load_ns: int = ...,
        retrieve_ns: int = ...,
    ) -> None: ...

class EngineStats(Message):  # type: ignore[misc]
    configured: bool
    @property
    def tables(self) -> MutableSequence[TableStats]: ...
    @property
    def queue_depth(self) -> MutableSequence[int]: ...
    batches_enqueued: int
    batches_received: int
    steps_completed: int
    negative_ids_pruned: int
    enqueue_ns: int
    lookup_ns: int
    update_ns: int
    def __init__(
        self,
        *,
        configured: bool = ...,
        tables: Iterable[TableStats] = ...,
        queue_depth: Iterable[int] = ...,
        batches_enqueued: int = ...,
        batches_received: int = ...,
        steps_completed: int = ...,
        negative_ids_pruned: int = ...,
        enqueue_ns: int = ...,
        lookup_ns: int = ...,
        update_ns: int = ...,
    ) -> None: ...
    @staticmethod
    def FromString(data: bytes) -> EngineStats: ...
