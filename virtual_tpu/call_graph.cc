#include "virtual_tpu/call_graph.h"

#include <algorithm>
#include <utility>

#include "virtual_tpu/calls.h"
#include "virtual_tpu/collective_ops.h"

namespace tf_embed::virtual_tpu {

using tensorflow::FunctionDef;
using tensorflow::NodeDef;

std::set<std::string> CallGraph::Callees(const std::string& function,
                                         bool calls) const {
  std::set<std::string> callees;
  const FunctionDef* definition = library_->Find(function);
  if (definition == nullptr) return callees;
  for (const NodeDef& node : definition->node_def()) {
    const bool legacy = library_->Contains(node.op());
    if (!calls && (legacy || IsCall(node.op()))) continue;
    if (legacy) callees.insert(node.op());
    for (std::string& name : FunctionsOf(tensorflow::AttrSlice(node))) {
      callees.insert(std::move(name));
    }
  }
  return callees;
}

const std::set<std::string>& CallGraph::Reached(const std::string& function,
                                                bool calls) {
  const auto [it, fresh] = reached_.try_emplace({function, calls});
  if (!fresh) return it->second;
  std::set<std::string> callees = Callees(function, calls);
  std::vector<std::string> left(callees.begin(), callees.end());
  while (!left.empty()) {
    const std::string next = std::move(left.back());
    left.pop_back();
    if (!it->second.insert(next).second) continue;
    callees = Callees(next, calls);
    left.insert(left.end(), callees.begin(), callees.end());
  }
  return it->second;
}

bool CallGraph::HasCollective(const std::string& function) const {
  const FunctionDef* definition = library_->Find(function);
  return definition != nullptr &&
         std::any_of(
             definition->node_def().begin(), definition->node_def().end(),
             [](const NodeDef& node) { return IsCollective(node.op()); });
}

bool CallGraph::InCycle(const std::string& function) {
  return Reached(function).count(function) > 0;
}

bool CallGraph::InCycleWithoutCalls(const std::string& function) {
  return Reached(function, /*calls=*/false).count(function) > 0;
}

bool CallGraph::Meets(const std::string& function) {
  const std::set<std::string>& reached = Reached(function);
  return HasCollective(function) ||
         std::any_of(reached.begin(), reached.end(),
                     [this](const auto& f) { return HasCollective(f); });
}

bool CallGraph::MeetsInCycle(const std::string& function) {
  std::set<std::string> functions = Reached(function);
  functions.insert(function);
  return std::any_of(functions.begin(), functions.end(),
                     [this](const auto& f) { return InCycle(f) && Meets(f); });
}

}  // namespace tf_embed::virtual_tpu
