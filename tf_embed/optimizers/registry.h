#ifndef TF_EMBED_TF_EMBED_OPTIMIZERS_REGISTRY_H_
#define TF_EMBED_TF_EMBED_OPTIMIZERS_REGISTRY_H_

#include <memory>

#include "tf_embed/base/status.h"
#include "tf_embed/optimizers/optimizer.h"
#include "tf_embed/optimizers/optimizer_config.h"

namespace tf_embed {

// The registry: one overload for each alternative of OptimizerParams, defined
// in the file of its optimizer. Optimizer::Create has checked what is common
// to all; an overload checks its own parameters.
using OptimizerOr = StatusOr<std::unique_ptr<const Optimizer>>;

OptimizerOr MakeOptimizer(const OptimizerConfig&, const SgdParams&);
OptimizerOr MakeOptimizer(const OptimizerConfig&, const AdagradParams&);
OptimizerOr MakeOptimizer(const OptimizerConfig&, const AdagradMomentumParams&);
OptimizerOr MakeOptimizer(const OptimizerConfig&, const BoundedAdagradParams&);
OptimizerOr MakeOptimizer(const OptimizerConfig&,
                          const FrequencyAwareAdagradParams&);
OptimizerOr MakeOptimizer(const OptimizerConfig&, const FtrlParams&);
OptimizerOr MakeOptimizer(const OptimizerConfig&, const AdamParams&);
OptimizerOr MakeOptimizer(const OptimizerConfig&, const MomentumParams&);
OptimizerOr MakeOptimizer(const OptimizerConfig&, const LionParams&);
OptimizerOr MakeOptimizer(const OptimizerConfig&, const RmsPropParams&);
OptimizerOr MakeOptimizer(const OptimizerConfig&, const CenteredRmsPropParams&);
OptimizerOr MakeOptimizer(const OptimizerConfig&, const AdadeltaParams&);
OptimizerOr MakeOptimizer(const OptimizerConfig&, const ProximalAdagradParams&);
OptimizerOr MakeOptimizer(const OptimizerConfig&, const OnlineYogiParams&);
OptimizerOr MakeOptimizer(const OptimizerConfig&, const ProximalYogiParams&);
OptimizerOr MakeOptimizer(const OptimizerConfig&, const MdlAdagradLightParams&);
OptimizerOr MakeOptimizer(const OptimizerConfig&,
                          const FrequencyEstimatorParams&);
OptimizerOr MakeOptimizer(const OptimizerConfig&, const AssignParams&);

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_OPTIMIZERS_REGISTRY_H_
