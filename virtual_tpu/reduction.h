#ifndef TF_EMBED_VIRTUAL_TPU_REDUCTION_H_
#define TF_EMBED_VIRTUAL_TPU_REDUCTION_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/util/work_sharder.h"
#include "virtual_tpu/collective_op.h"

namespace tf_embed::virtual_tpu {

// Narrow floats are summed in float, and rounded once.
template <typename T>
struct Wide {
  using type = T;
};
template <>
struct Wide<Eigen::half> {
  using type = float;
};
template <>
struct Wide<Eigen::bfloat16> {
  using type = float;
};

enum class Reduction { kAdd, kMean, kMul, kMin, kMax };

// What the attribute reduce_op says.
inline absl::Status GetReduction(tensorflow::OpKernelConstruction* ctx,
                                 Reduction* reduction) {
  static const auto* const reductions =
      new std::map<std::string, Reduction>{{"Add", Reduction::kAdd},
                                           {"Mean", Reduction::kMean},
                                           {"Mul", Reduction::kMul},
                                           {"Min", Reduction::kMin},
                                           {"Max", Reduction::kMax}};
  std::string name;
  TF_RETURN_IF_ERROR(ctx->GetAttr("reduce_op", &name));
  const auto it = reductions->find(name);
  if (it == reductions->end()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "reduce_op is '", name, "', must be one of Add, Mean, Mul, Min, Max"));
  }
  *reduction = it->second;
  return absl::OkStatus();
}

template <typename W>
W Combine(Reduction reduction, W a, W b) {
  switch (reduction) {
    case Reduction::kAdd:
    case Reduction::kMean:
      return a + b;
    case Reduction::kMul:
      return a * b;
    case Reduction::kMin:
      return b < a ? b : a;
    case Reduction::kMax:
      break;
  }
  return a < b ? b : a;
}

// Elements [begin, end) of the members' inputs, reduced one after the other in
// the order of the group: the result does not depend on who came last, nor on
// how the elements are shared out to threads.
template <typename T>
void ReduceRange(const std::vector<const T*>& inputs, Reduction reduction,
                 int64_t begin, int64_t end, T* result) {
  using W = typename Wide<T>::type;
  for (int64_t i = begin; i < end; ++i) {
    W value = static_cast<W>(inputs[0][i]);
    for (size_t m = 1; m < inputs.size(); ++m) {
      value = Combine(reduction, value, static_cast<W>(inputs[m][i]));
    }
    if (reduction == Reduction::kMean) {
      value = value / static_cast<W>(inputs.size());
    }
    result[i] = static_cast<T>(value);
  }
}

template <typename T>
tensorflow::Tensor Reduce(const Contexts& members, Reduction reduction) {
  tensorflow::Tensor result(tensorflow::DataTypeToEnum<T>::value,
                            members[0]->input(0).shape());
  std::vector<const T*> inputs;
  for (tensorflow::OpKernelContext* member : members) {
    inputs.push_back(member->input(0).flat<T>().data());
  }
  T* out = result.flat<T>().data();
  const auto& workers = *members[0]->device()->tensorflow_cpu_worker_threads();
  tensorflow::Shard(workers.num_threads, workers.workers, result.NumElements(),
                    /*cost_per_unit=*/static_cast<int64_t>(inputs.size()),
                    [&](int64_t begin, int64_t end) {
                      ReduceRange(inputs, reduction, begin, end, out);
                    });
  return result;
}

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_REDUCTION_H_
