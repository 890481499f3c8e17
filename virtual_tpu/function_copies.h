#ifndef TF_EMBED_VIRTUAL_TPU_FUNCTION_COPIES_H_
#define TF_EMBED_VIRTUAL_TPU_FUNCTION_COPIES_H_

#include <string>

#include "absl/status/status.h"
#include "tensorflow/core/framework/function.h"
#include "tensorflow/core/graph/graph.h"

namespace tf_embed::virtual_tpu {

// Where edited copies of a graph's functions go.
class FunctionCopies {
 public:
  FunctionCopies(tensorflow::Graph* graph,
                 tensorflow::FunctionLibraryDefinition* library)
      : graph_(graph), library_(library) {}

  const tensorflow::FunctionLibraryDefinition& library() const {
    return *library_;
  }

  // NotFound where there is none of that name.
  absl::Status Find(const std::string& name,
                    const tensorflow::FunctionDef** function) const;

  // Adds a copy of `original` under its new name.
  absl::Status Add(const tensorflow::FunctionDef& copy,
                   const std::string& original);

 private:
  tensorflow::Graph* const graph_;
  tensorflow::FunctionLibraryDefinition* const library_;
};

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_FUNCTION_COPIES_H_
