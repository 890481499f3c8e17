#include "tf_embed/optimizers/registry.h"

namespace tf_embed {
namespace {

// Rows can be configured, loaded, retrieved and looked up; how they are updated
// is not public.
class MdlAdagradLight final : public Optimizer {
 public:
  const char* name() const override { return "MDLAdagradLight"; }
  Span<const SlotSpec> slots() const override {
    static constexpr SlotSpec kSlots[] = {
        {"accumulators", 0.1f}, {"weights", 0.0f}, {"benefits", 0.0f}};
    return kSlots;
  }
  Status CanUpdate() const override {
    return Unimplemented("the update rule of MDLAdagradLight is not public");
  }
  void UpdateRows(const StepScalars&, const RowBlock&) const override {}
};

}  // namespace

OptimizerOr MakeOptimizer(const OptimizerConfig&,
                          const MdlAdagradLightParams&) {
  return std::unique_ptr<const Optimizer>(new MdlAdagradLight);
}

}  // namespace tf_embed
