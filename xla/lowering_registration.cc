#include "xla/lowering_registration.h"

#include <set>
#include <string>
#include <vector>

#include "tensorflow/compiler/tf2xla/xla_op_registry.h"

namespace tf_embed {

LoweringTable::LoweringTable(const std::vector<LoweringEntry>& entries) {
  const std::vector<std::string> names =
      tensorflow::XlaOpRegistry::GetAllRegisteredOps();
  const std::set<std::string> known(names.begin(), names.end());
  for (const LoweringEntry& entry : entries) {
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
