#include "c_api/engine_stats_to_proto.h"

namespace tf_embed {

proto::EngineStats EngineStatsToProto(const EngineStats& stats) {
  proto::EngineStats result;
  result.set_configured(true);
  for (const TableStats& table : stats.tables) {
    proto::TableStats& added = *result.add_tables();
    added.set_name(table.name);
    added.set_table_bytes(table.table_bytes);
    added.set_ids_enqueued(table.ids_enqueued);
    added.set_negative_ids_pruned(table.negative_ids_pruned);
    added.set_ids_looked_up(table.ids_looked_up);
    added.set_ids_updated(table.ids_updated);
    added.set_unique_ids(table.unique_ids);
    added.set_rows_updated(table.rows_updated);
    added.set_bytes_looked_up(table.bytes_looked_up);
    added.set_bytes_updated(table.bytes_updated);
    added.set_enqueue_ns(table.enqueue_ns);
    added.set_lookup_ns(table.lookup_ns);
    added.set_update_ns(table.update_ns);
    added.set_load_ns(table.load_ns);
    added.set_retrieve_ns(table.retrieve_ns);
  }
  result.mutable_queue_depth()->Add(stats.queue_depth.begin(),
                                    stats.queue_depth.end());
  result.set_batches_enqueued(stats.batches_enqueued);
  result.set_batches_received(stats.batches_received);
  result.set_steps_completed(stats.steps_completed);
  result.set_negative_ids_pruned(stats.negative_ids_pruned);
  result.set_enqueue_ns(stats.enqueue_ns);
  result.set_lookup_ns(stats.lookup_ns);
  result.set_update_ns(stats.update_ns);
  return result;
}

}  // namespace tf_embed
