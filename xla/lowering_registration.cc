#include "xla/lowering_registration.h"

#include <set>
#include <string>
#include <vector>

#include "tensorflow/compiler/tf2xla/xla_op_registry.h"

namespace tf_embed {
namespace {

std::set<std::string>& EngineOps() {
  static auto* ops = new std::set<std::string>;
  return *ops;
}

}  // namespace

bool CallsEngine(const std::string& op) { return EngineOps().count(op) > 0; }

LoweringTable::LoweringTable(const std::vector<LoweringEntry>& entries) {
  const std::vector<std::string> names =
      tensorflow::XlaOpRegistry::GetAllRegisteredOps();
  const std::set<std::string> known(names.begin(), names.end());
  for (const LoweringEntry& entry : entries) {
    if (entry.calls_engine) EngineOps().insert(entry.op);
    if (known.count(entry.op) > 0) continue;
    auto builder = tensorflow::XlaOpRegistrationBuilder::Name(entry.op);
    // Where the op's definition lets an input be one.
    builder.AllowResourceTypes().AllowVariantTypes();
    for (const std::string& input : entry.constant_inputs) {
      builder.CompileTimeConstantInput(input);
    }
    // Registers as it is made and lives as long as the process.
    new tensorflow::XlaOpRegistrar(builder.Build(entry.create));
  }
}

}  // namespace tf_embed
