#ifndef TF_EMBED_TF_EMBED_ENGINE_ENGINE_STATS_H_
#define TF_EMBED_TF_EMBED_ENGINE_ENGINE_STATS_H_

#include <cstdint>
#include <string>
#include <vector>

namespace tf_embed {

// Counters since the engine was configured.

struct TableStats {
  std::string name;
  int64_t table_bytes = 0;  // parameters and slot variables
  int64_t ids_enqueued = 0;
  int64_t negative_ids_pruned = 0;
  int64_t ids_looked_up = 0;
  int64_t ids_updated = 0;      // contributions to gradients
  int64_t unique_ids = 0;       // sum over steps of rows with a gradient
  int64_t rows_updated = 0;     // the same, or all rows
  int64_t bytes_looked_up = 0;  // of rows read
  int64_t bytes_updated = 0;    // of rows and slots written
  // Of all threads that worked for the table, summed.
  int64_t enqueue_ns = 0;
  int64_t lookup_ns = 0;
  int64_t update_ns = 0;
  int64_t load_ns = 0;
  int64_t retrieve_ns = 0;
};

struct EngineStats {
  std::vector<TableStats> tables;
  std::vector<int64_t> queue_depth;  // per core: batches not yet received
  int64_t batches_enqueued = 0;
  int64_t batches_received = 0;
  int64_t steps_completed = 0;
  int64_t negative_ids_pruned = 0;
  // Of the threads that called, from the beginning to the end of the stage.
  int64_t enqueue_ns = 0;
  int64_t lookup_ns = 0;
  int64_t update_ns = 0;
};

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_ENGINE_ENGINE_STATS_H_
