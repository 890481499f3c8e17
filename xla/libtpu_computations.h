#ifndef TF_EMBED_XLA_LIBTPU_COMPUTATIONS_H_
#define TF_EMBED_XLA_LIBTPU_COMPUTATIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "xla/hlo/builder/xla_computation.h"
#include "xla/shape.h"
#include "xla/xla_data.pb.h"

namespace tf_embed {

// What the ops of the embedding engine are on a TPU that has the hardware for
// it: libtpu knows, and gives a computation for each, which reads and writes
// the engine's queues in the TPU's memory. TensorFlow hands over the functions
// of the libtpu that it has loaded. Where there is none, or the TPU system is
// not initialised, the status says so.
class LibtpuComputations {
 public:
  // Reads the attributes that libtpu wants to see: `config`, and what only the
  // V2 forms have.
  static absl::StatusOr<LibtpuComputations> Create(
      tensorflow::OpKernelConstruction* ctx);

  using Sharding = std::optional<xla::OpSharding>;  // of the op, if any

  // () -> deduplication data, a tuple of vectors.
  absl::StatusOr<xla::XlaComputation> RecvDeduplicationData(
      const Sharding& sharding) const;

  // (deduplication data) -> (activations)
  absl::StatusOr<xla::XlaComputation> RecvActivations(
      const xla::Shape& data, const Sharding& sharding) const;

  // ((gradients), (learning rates), deduplication data) -> ()
  absl::StatusOr<xla::XlaComputation> SendGradients(
      const std::vector<xla::Shape>& gradients,
      const std::vector<xla::Shape>& learning_rates, const xla::Shape& data,
      const Sharding& sharding) const;

  // How many elements the deduplication data have.
  absl::StatusOr<int32_t> DedupDataSize() const;

  // () -> s32[elements, 2]
  absl::StatusOr<xla::XlaComputation> DedupDataTupleMask() const;

 private:
  LibtpuComputations() = default;

  template <typename Params>
  void SetAttributes(Params& params) const;
  template <typename Params>
  absl::StatusOr<xla::XlaComputation> Ask(const char* function,
                                          void (*call)(Params*),
                                          Params& params) const;
  template <typename Params>
  absl::StatusOr<xla::XlaComputation> AskSharded(const char* function,
                                                 void (*call)(Params*),
                                                 const Sharding& sharding,
                                                 Params& params) const;
  template <typename Params>
  absl::Status Invoke(const char* function, void (*call)(Params*),
                      Params& params) const;

  std::string op_;  // for messages
  std::string config_;
  std::string embedding_partitions_;
  std::string hbm_buffers_config_;
  std::string tpu_topology_;
};

}  // namespace tf_embed

#endif  // TF_EMBED_XLA_LIBTPU_COMPUTATIONS_H_
