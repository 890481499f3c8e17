#ifndef TF_EMBED_VIRTUAL_TPU_CALL_GRAPH_H_
#define TF_EMBED_VIRTUAL_TPU_CALL_GRAPH_H_

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tensorflow/core/framework/function.h"

namespace tf_embed::virtual_tpu {

// Who calls whom in a library of functions.
class CallGraph {
 public:
  explicit CallGraph(const tensorflow::FunctionLibraryDefinition* library)
      : library_(library) {}

  // Whether the function can reach itself.
  bool InCycle(const std::string& function);
  // Whether it can reach itself by conditionals and loops alone.
  bool InCycleWithoutCalls(const std::string& function);
  // Whether it, or what it can reach, has a collective.
  bool Meets(const std::string& function);
  // Whether it is, or can reach, a function in a cycle that meets.
  bool MeetsInCycle(const std::string& function);

 private:
  // Names of the functions that a function uses itself, with or without those
  // that it calls.
  std::set<std::string> Callees(const std::string& function, bool calls) const;
  // Those, what they use, and so on. Itself only if in a cycle.
  const std::set<std::string>& Reached(const std::string& function,
                                       bool calls = true);
  bool HasCollective(const std::string& function) const;

  const tensorflow::FunctionLibraryDefinition* const library_;
  std::map<std::pair<std::string, bool>, std::set<std::string>> reached_;
};

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_CALL_GRAPH_H_
