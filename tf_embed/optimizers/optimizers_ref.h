#ifndef TF_EMBED_TF_EMBED_OPTIMIZERS_OPTIMIZERS_REF_H_
#define TF_EMBED_TF_EMBED_OPTIMIZERS_OPTIMIZERS_REF_H_

#include <algorithm>
#include <cmath>
#include <variant>

#include "tf_embed/optimizers/optimizer.h"
#include "tf_embed/optimizers/optimizer_config.h"

namespace tf_embed {

// The specification of all optimizers, in double precision and on one element:
// what the tests compare the kernels with.
struct ElementRef {
  double w = 0;
  double s[kMaxSlots] = {};
};

namespace ref_internal {

inline double Clip(double x, double lower, double upper) {
  return std::min(std::max(x, lower), upper);
}
inline double Sign(double x) { return (x > 0) - (x < 0); }
inline double Shrink(double x, double by) {
  return Sign(x) * std::max(std::fabs(x) - by, 0.0);
}

struct Step {
  double lr, step_counter, g;
  ElementRef& e;

  void operator()(std::monostate) {}
  void operator()(const UserDefinedProgramParams&) {}
  void operator()(const MdlAdagradLightParams&) {}
  void operator()(const SgdParams&) { e.w -= lr * g; }
  void operator()(const AssignParams&) { e.w = g; }
  void operator()(const AdagradParams&) {
    e.s[0] += g * g;
    if (e.s[0] != 0) e.w -= lr * g / std::sqrt(e.s[0]);
  }
  void operator()(const AdagradMomentumParams& p) {
    double& a = e.s[0];
    double& m = e.s[1];
    a = p.beta2 == 1 ? a + g * g : p.beta2 * a + (1.0 - p.beta2) * g * g;
    const double s = std::pow(a + p.epsilon, -1.0 / p.exponent) * g;
    m = p.momentum * m + s;
    e.w -= lr * (p.use_nesterov ? p.momentum * m + s : m);
  }
  void operator()(const BoundedAdagradParams& p) {
    double a1 = e.s[0] + g * g;
    if (p.max_accumulator > 0) a1 = std::min<double>(a1, p.max_accumulator);
    const double den = p.update_accumulator_first ? a1 : e.s[0];
    double u = den == 0 && g == 0 ? 0 : lr * g / std::sqrt(den);
    if (p.max_var_update > 0) u = Clip(u, -p.max_var_update, p.max_var_update);
    e.w -= u;
    e.s[0] = a1;
  }
  void operator()(const FrequencyAwareAdagradParams& p) {
    double& a = e.s[0];
    double& c = e.s[1];
    c += 1;
    const double decay = p.accumulator_decay == 0 ? 1 : p.accumulator_decay;
    a = std::max<double>(decay * a + g * g, p.initial_accumulator_value);
    double mult =
        std::pow(std::max(step_counter, 1.0) / c, p.probability_exponent);
    if (p.max_lr_multiplier > 0) {
      mult = std::min<double>(mult, p.max_lr_multiplier);
    }
    const double u = a == 0 && g == 0 ? 0 : mult * g / std::sqrt(a);
    e.w -= lr * (u + p.l1 * Sign(e.w) + p.l2 * e.w);
  }
  void operator()(const FtrlParams& p) {
    double& a = e.s[0];
    double& linear = e.s[1];
    const double a1 = a + g * g;
    const double p0 = std::pow(a, -p.lr_power);
    const double p1 = std::pow(a1, -p.lr_power);
    double den, num;
    if (p.multiply_linear_by_lr) {
      linear += lr * g - (p1 - p0) * e.w;
      den = p1 + p.beta + 2 * lr * p.l2;
      num = Clip(linear, -lr * p.l1, lr * p.l1) - linear;
    } else {
      linear += g - (p1 - p0) / lr * e.w;
      den = (p1 + p.beta) / lr + 2.0 * p.l2;
      num = Clip(linear, -p.l1, p.l1) - linear;
    }
    e.w = den == 0 ? 0 : num / den;
    a = a1;
  }
  void operator()(const AdamParams& p) {
    double& m = e.s[0];
    double& v = e.s[1];
    m = p.beta1 * m + (1.0 - p.beta1) * g;
    v = p.beta2 * v + (1.0 - p.beta2) * g * g;
    const double epsilon = p.epsilon;
    e.w -= lr * m /
           (p.use_sum_inside_sqrt ? std::sqrt(v + epsilon * epsilon)
                                  : std::sqrt(v) + epsilon);
  }
  void operator()(const MomentumParams& p) {
    double& m = e.s[0];
    m = p.momentum * m + g;
    e.w -= p.use_nesterov ? lr * g + lr * p.momentum * m : lr * m;
  }
  void operator()(const LionParams& p) {
    double& m = e.s[0];
    e.w -= lr * Sign(p.beta1 * m + (1.0 - p.beta1) * g);
    m = p.beta2 * m + (1.0 - p.beta2) * g;
  }
  void operator()(const RmsPropParams& p) {
    double& ms = e.s[0];
    double& mom = e.s[1];
    ms = p.rho * ms + (1.0 - p.rho) * g * g;
    mom = p.momentum * mom + lr * g / std::sqrt(ms + p.epsilon);
    e.w -= mom;
  }
  void operator()(const CenteredRmsPropParams& p) {
    double& ms = e.s[0];
    double& mom = e.s[1];
    double& mg = e.s[2];
    ms = p.rho * ms + (1.0 - p.rho) * g * g;
    mg = p.rho * mg + (1.0 - p.rho) * g;
    mom = p.momentum * mom + lr * g / std::sqrt(ms - mg * mg + p.epsilon);
    e.w -= mom;
  }
  void operator()(const AdadeltaParams& p) {
    double& a = e.s[0];
    double& updates = e.s[1];
    a = p.rho * a + (1.0 - p.rho) * g * g;
    const double u =
        std::sqrt(updates + p.epsilon) / std::sqrt(a + p.epsilon) * g;
    e.w -= lr * u;
    updates = p.rho * updates + (1.0 - p.rho) * u * u;
  }
  void operator()(const ProximalAdagradParams& p) {
    double& a = e.s[0];
    a += g * g;
    if (a == 0) return;
    const double t = lr / std::sqrt(a);
    e.w = Shrink(e.w - t * g, t * p.l1) / (1 + t * p.l2);
  }
  void operator()(const OnlineYogiParams& p) {
    double& v = e.s[0];
    double& linear = e.s[1];
    const double v1 = v - (1.0 - p.beta2) * Sign(v - g * g) * g * g;
    linear += g - (std::sqrt(v1) - std::sqrt(v)) / lr * e.w;
    const double q = std::sqrt(v1) / lr + 2.0 * p.l2;
    e.w = q == 0 ? 0 : (Clip(linear, -p.l1, p.l1) - linear) / q;
    v = v1;
  }
  void operator()(const ProximalYogiParams& p) {
    double& v = e.s[0];
    double& m = e.s[1];
    m = p.beta1 * m + (1.0 - p.beta1) * g;
    v += (1.0 - p.beta2) * Sign(g * g - v) * g * g;
    const double eta = lr / (std::sqrt(v) + p.epsilon);
    double x = e.w - eta * m;
    if (p.l1 > 0) x = Shrink(x, eta * p.l1);
    e.w = x / (1 + eta * p.l2);
  }
  void operator()(const FrequencyEstimatorParams& p) {
    const double step = lr;
    const double delta = step - e.s[0];
    const double capped = std::min<double>(delta, p.max_delta);
    e.w = delta >= p.outlier_threshold * e.w
              ? capped
              : e.w * (1.0 - p.tau) + capped * p.tau;
    e.s[0] = step;
  }
};

}  // namespace ref_internal

// One step of the optimizer that `config` describes on one element.
inline void UpdateElementRef(const OptimizerConfig& config,
                             const StepScalars& scalars, double gradient,
                             ElementRef& element) {
  const double g =
      ref_internal::Clip(gradient, config.gradient_clipping_limits.lower,
                         config.gradient_clipping_limits.upper);
  const double decay =
      config.multiply_weight_decay_factor_by_learning_rate
          ? double{config.weight_decay_factor} * scalars.learning_rate
          : config.weight_decay_factor;
  element.w -= decay * element.w;
  std::visit(ref_internal::Step{scalars.learning_rate, scalars.step_counter, g,
                                element},
             config.params);
  element.w = ref_internal::Clip(element.w, config.clipping_limits.lower,
                                 config.clipping_limits.upper);
}

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_OPTIMIZERS_OPTIMIZERS_REF_H_
