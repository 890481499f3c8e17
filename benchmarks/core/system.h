#ifndef TF_EMBED_BENCHMARKS_CORE_SYSTEM_H_
#define TF_EMBED_BENCHMARKS_CORE_SYSTEM_H_

#include <memory>

#include "benchmarks/core/inputs.h"
#include "tf_embed/base/span.h"
#include "tf_embed/base/status.h"
#include "tf_embed/lookup/row_format.h"

namespace tf_embed {

// A part of the core, with the tables of a workload.
class System {
 public:
  virtual ~System() = default;
  // Looks up batch `b`.
  virtual Status Forward(int b) = 0;
  // Looks up batch `b` and updates with the gradients of the inputs.
  virtual Status Step(int b) = 0;
  // What the last lookup wrote, [tables, batch, dim].
  virtual Span<const float> outputs() const = 0;
};

// The kernels alone: ids are in bags already. format: kFloat32 or kInt8.
StatusOr<std::unique_ptr<System>> MakeKernelSystem(const Inputs& inputs,
                                                   RowFormat format);

// The engine: Enqueue, Receive, Lookup, Send.
StatusOr<std::unique_ptr<System>> MakeEngineSystem(const Inputs& inputs);

// The memory accesses alone, which nobody can be faster than: as many random
// rows as a batch has ids are read; a step then reads and writes the row of
// each unique id in the weights and in each slot variable. Has no outputs.
StatusOr<std::unique_ptr<System>> MakeMemorySystem(const Inputs& inputs);

}  // namespace tf_embed

#endif  // TF_EMBED_BENCHMARKS_CORE_SYSTEM_H_
