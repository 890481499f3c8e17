# Written by tests/python/raw_ops_stub.py.

from collections.abc import Sequence
from typing import Any, TypeAlias

import tensorflow as tf

from tf_embed._config import Config

TensorLike: TypeAlias = Any

__all__: list[str]

def CollateTPUEmbeddingMemory(
    *, memory_configs: Sequence[TensorLike], name: str | None = ...
) -> tf.Tensor: ...
def ComputeDedupDataSize(*, config: Config, name: str | None = ...) -> tf.Tensor: ...
def ComputeDedupDataSizeV2(
    *,
    config: Config,
    embedding_partitions: str | bytes,
    hbm_buffers_config: str | bytes,
    tpu_topology: str | bytes,
    name: str | None = ...,
) -> tf.Tensor: ...
def ComputeDedupDataTupleMask(
    *, config: Config, name: str | None = ...
) -> tf.Tensor: ...
def ComputeDedupDataTupleMaskV2(
    *,
    config: Config,
    embedding_partitions: str | bytes,
    hbm_buffers_config: str | bytes,
    tpu_topology: str | bytes,
    name: str | None = ...,
) -> tf.Tensor: ...
def ConfigureDistributedTPU(
    *,
    embedding_config: str | bytes = ...,
    tpu_embedding_config: Config = ...,
    is_global_init: bool = ...,
    enable_whole_mesh_compilations: bool = ...,
    compilation_failure_closes_chips: bool = ...,
    tpu_cancellation_closes_chips: int = ...,
    name: str | None = ...,
) -> tf.Tensor: ...
def ConfigureTPUEmbedding(
    *, config: Config, name: str | None = ...
) -> tf.Operation | None: ...
def ConfigureTPUEmbeddingHost(
    *,
    common_config: TensorLike,
    memory_config: TensorLike,
    config: Config,
    name: str | None = ...,
) -> tf.Tensor: ...
def ConfigureTPUEmbeddingMemory(
    *, common_config: TensorLike, name: str | None = ...
) -> tf.Tensor: ...
def ConnectTPUEmbeddingHosts(
    *, network_configs: Sequence[TensorLike], name: str | None = ...
) -> tf.Operation | None: ...
def DynamicEnqueueTPUEmbeddingArbitraryTensorBatch(
    *,
    sample_indices_or_row_splits: Sequence[TensorLike],
    embedding_indices: Sequence[TensorLike],
    aggregation_weights: Sequence[TensorLike],
    mode_override: TensorLike,
    device_ordinal: TensorLike,
    combiners: Sequence[str] = ...,
    name: str | None = ...,
) -> tf.Operation | None: ...
def DynamicEnqueueTPUEmbeddingRaggedTensorBatch(
    *,
    sample_splits: Sequence[TensorLike],
    embedding_indices: Sequence[TensorLike],
    aggregation_weights: Sequence[TensorLike],
    mode_override: TensorLike,
    device_ordinal: TensorLike,
    table_ids: Sequence[int],
    combiners: Sequence[str] = ...,
    max_sequence_lengths: Sequence[int] = ...,
    num_features: Sequence[int] = ...,
    name: str | None = ...,
) -> tf.Operation | None: ...
def EnqueueTPUEmbeddingArbitraryTensorBatch(
    *,
    sample_indices_or_row_splits: Sequence[TensorLike],
    embedding_indices: Sequence[TensorLike],
    aggregation_weights: Sequence[TensorLike],
    mode_override: TensorLike,
    device_ordinal: int = ...,
    combiners: Sequence[str] = ...,
    name: str | None = ...,
) -> tf.Operation | None: ...
def EnqueueTPUEmbeddingBatch(
    *,
    batch: Sequence[TensorLike],
    mode_override: TensorLike,
    device_ordinal: int = ...,
    combiners: Sequence[str] = ...,
    name: str | None = ...,
) -> tf.Operation | None: ...
def EnqueueTPUEmbeddingIntegerBatch(
    *,
    batch: Sequence[TensorLike],
    mode_override: TensorLike,
    device_ordinal: int = ...,
    name: str | None = ...,
) -> tf.Operation | None: ...
def EnqueueTPUEmbeddingRaggedTensorBatch(
    *,
    sample_splits: Sequence[TensorLike],
    embedding_indices: Sequence[TensorLike],
    aggregation_weights: Sequence[TensorLike],
    mode_override: TensorLike,
    table_ids: Sequence[int],
    device_ordinal: int = ...,
    combiners: Sequence[str] = ...,
    max_sequence_lengths: Sequence[int] = ...,
    num_features: Sequence[int] = ...,
    name: str | None = ...,
) -> tf.Operation | None: ...
def EnqueueTPUEmbeddingSparseBatch(
    *,
    sample_indices: Sequence[TensorLike],
    embedding_indices: Sequence[TensorLike],
    aggregation_weights: Sequence[TensorLike],
    mode_override: TensorLike,
    device_ordinal: int = ...,
    combiners: Sequence[str] = ...,
    name: str | None = ...,
) -> tf.Operation | None: ...
def EnqueueTPUEmbeddingSparseTensorBatch(
    *,
    sample_indices: Sequence[TensorLike],
    embedding_indices: Sequence[TensorLike],
    aggregation_weights: Sequence[TensorLike],
    mode_override: TensorLike,
    table_ids: Sequence[int],
    device_ordinal: int = ...,
    combiners: Sequence[str] = ...,
    max_sequence_lengths: Sequence[int] = ...,
    num_features: Sequence[int] = ...,
    name: str | None = ...,
) -> tf.Operation | None: ...
def ExecuteTPUEmbeddingPartitioner(
    *, config: Config, name: str | None = ...
) -> tf.Tensor: ...
def FinalizeTPUEmbedding(
    *, common_config: TensorLike, memory_config: TensorLike, name: str | None = ...
) -> tf.Operation | None: ...
def FinalizeTPUEmbeddingV2(
    *, common_config: TensorLike, memory_config: TensorLike, name: str | None = ...
) -> tuple[tf.Tensor, tf.Tensor]: ...
def IsTPUEmbeddingInitialized(
    *, config: Config = ..., name: str | None = ...
) -> tf.Tensor: ...
def LoadAllTPUEmbeddingParameters(
    *,
    parameters: Sequence[TensorLike],
    auxiliary1: Sequence[TensorLike],
    auxiliary2: Sequence[TensorLike],
    auxiliary3: Sequence[TensorLike],
    auxiliary4: Sequence[TensorLike],
    auxiliary5: Sequence[TensorLike],
    auxiliary6: Sequence[TensorLike],
    auxiliary7: Sequence[TensorLike],
    config: Config,
    num_shards: int,
    shard_id: int,
    name: str | None = ...,
) -> tf.Operation | None: ...
def LoadTPUEmbeddingADAMParameters(
    *,
    parameters: TensorLike,
    momenta: TensorLike,
    velocities: TensorLike,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tf.Operation | None: ...
def LoadTPUEmbeddingAdadeltaParameters(
    *,
    parameters: TensorLike,
    accumulators: TensorLike,
    updates: TensorLike,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tf.Operation | None: ...
def LoadTPUEmbeddingAdagradMomentumParameters(
    *,
    parameters: TensorLike,
    accumulators: TensorLike,
    momenta: TensorLike,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tf.Operation | None: ...
def LoadTPUEmbeddingAdagradParameters(
    *,
    parameters: TensorLike,
    accumulators: TensorLike,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tf.Operation | None: ...
def LoadTPUEmbeddingCenteredRMSPropParameters(
    *,
    parameters: TensorLike,
    ms: TensorLike,
    mom: TensorLike,
    mg: TensorLike,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tf.Operation | None: ...
def LoadTPUEmbeddingFTRLParameters(
    *,
    parameters: TensorLike,
    accumulators: TensorLike,
    linears: TensorLike,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tf.Operation | None: ...
def LoadTPUEmbeddingFrequencyEstimatorParameters(
    *,
    parameters: TensorLike,
    last_hit_step: TensorLike,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tf.Operation | None: ...
def LoadTPUEmbeddingMDLAdagradLightParameters(
    *,
    parameters: TensorLike,
    accumulators: TensorLike,
    weights: TensorLike,
    benefits: TensorLike,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tf.Operation | None: ...
def LoadTPUEmbeddingMomentumParameters(
    *,
    parameters: TensorLike,
    momenta: TensorLike,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tf.Operation | None: ...
def LoadTPUEmbeddingProximalAdagradParameters(
    *,
    parameters: TensorLike,
    accumulators: TensorLike,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tf.Operation | None: ...
def LoadTPUEmbeddingProximalYogiParameters(
    *,
    parameters: TensorLike,
    v: TensorLike,
    m: TensorLike,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tf.Operation | None: ...
def LoadTPUEmbeddingRMSPropParameters(
    *,
    parameters: TensorLike,
    ms: TensorLike,
    mom: TensorLike,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tf.Operation | None: ...
def LoadTPUEmbeddingStochasticGradientDescentParameters(
    *,
    parameters: TensorLike,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tf.Operation | None: ...
def MergeDedupData(
    *,
    integer_tensor: TensorLike,
    float_tensor: TensorLike,
    tuple_mask: str | bytes,
    config: Config = ...,
    name: str | None = ...,
) -> tf.Tensor: ...
def RecvTPUEmbeddingActivations(
    *, num_outputs: int, config: Config, name: str | None = ...
) -> list[tf.Tensor]: ...
def RetrieveAllTPUEmbeddingParameters(
    *,
    NumTables: int,
    config: Config,
    num_shards: int,
    shard_id: int,
    name: str | None = ...,
) -> tuple[
    list[tf.Tensor],
    list[tf.Tensor],
    list[tf.Tensor],
    list[tf.Tensor],
    list[tf.Tensor],
    list[tf.Tensor],
    list[tf.Tensor],
    list[tf.Tensor],
]: ...
def RetrieveTPUEmbeddingADAMParameters(
    *,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]: ...
def RetrieveTPUEmbeddingAdadeltaParameters(
    *,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]: ...
def RetrieveTPUEmbeddingAdagradMomentumParameters(
    *,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]: ...
def RetrieveTPUEmbeddingAdagradParameters(
    *,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tuple[tf.Tensor, tf.Tensor]: ...
def RetrieveTPUEmbeddingCenteredRMSPropParameters(
    *,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]: ...
def RetrieveTPUEmbeddingFTRLParameters(
    *,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]: ...
def RetrieveTPUEmbeddingFrequencyEstimatorParameters(
    *,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tuple[tf.Tensor, tf.Tensor]: ...
def RetrieveTPUEmbeddingMDLAdagradLightParameters(
    *,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]: ...
def RetrieveTPUEmbeddingMomentumParameters(
    *,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tuple[tf.Tensor, tf.Tensor]: ...
def RetrieveTPUEmbeddingProximalAdagradParameters(
    *,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tuple[tf.Tensor, tf.Tensor]: ...
def RetrieveTPUEmbeddingProximalYogiParameters(
    *,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]: ...
def RetrieveTPUEmbeddingRMSPropParameters(
    *,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]: ...
def RetrieveTPUEmbeddingStochasticGradientDescentParameters(
    *,
    num_shards: int,
    shard_id: int,
    table_id: int = ...,
    table_name: str | bytes = ...,
    config: Config = ...,
    name: str | None = ...,
) -> tf.Tensor: ...
def SendTPUEmbeddingGradients(
    *,
    inputs: Sequence[TensorLike],
    learning_rates: Sequence[TensorLike],
    config: Config,
    name: str | None = ...,
) -> tf.Operation | None: ...
def ShutdownDistributedTPU(*, name: str | None = ...) -> tf.Operation | None: ...
def SplitDedupData(
    *,
    input: TensorLike,
    integer_type: tf.DType,
    float_type: tf.DType,
    tuple_mask: str | bytes,
    config: Config = ...,
    name: str | None = ...,
) -> tuple[tf.Tensor, tf.Tensor]: ...
def TPUEmbeddingActivations(
    *,
    embedding_variable: TensorLike,
    sliced_activations: TensorLike,
    table_id: int,
    lookup_id: int,
    name: str | None = ...,
) -> tf.Tensor: ...
def XlaRecvTPUEmbeddingActivations(
    *,
    deduplication_data: TensorLike,
    num_tables: int,
    config: Config,
    name: str | None = ...,
) -> list[tf.Tensor]: ...
def XlaRecvTPUEmbeddingActivationsV2(
    *,
    deduplication_data: TensorLike,
    num_tables: int,
    config: Config,
    embedding_partitions: str | bytes,
    hbm_buffers_config: str | bytes,
    tpu_topology: str | bytes,
    name: str | None = ...,
) -> list[tf.Tensor]: ...
def XlaRecvTPUEmbeddingDeduplicationData(
    *, config: Config, name: str | None = ...
) -> tf.Tensor: ...
def XlaRecvTPUEmbeddingDeduplicationDataV2(
    *,
    config: Config,
    embedding_partitions: str | bytes,
    hbm_buffers_config: str | bytes,
    tpu_topology: str | bytes,
    name: str | None = ...,
) -> tf.Tensor: ...
def XlaSendTPUEmbeddingGradients(
    *,
    gradients: Sequence[TensorLike],
    learning_rates: Sequence[TensorLike],
    deduplication_data: TensorLike,
    config: Config,
    name: str | None = ...,
) -> tf.Operation | None: ...
def XlaSendTPUEmbeddingGradientsV2(
    *,
    gradients: Sequence[TensorLike],
    learning_rates: Sequence[TensorLike],
    deduplication_data: TensorLike,
    config: Config,
    embedding_partitions: str | bytes,
    hbm_buffers_config: str | bytes,
    tpu_topology: str | bytes,
    name: str | None = ...,
) -> tf.Operation | None: ...
