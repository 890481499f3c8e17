#include "xla/optimizer_lowering.h"

#include <variant>
#include <vector>

#include "xla/hlo/builder/lib/constants.h"

namespace tf_embed {
namespace {

using ::xla::ScalarLike;
using ::xla::XlaOp;
using ::xla::ZerosLike;

// One formula per overload; the rows have been decayed, the gradient clipped.
struct Formula {
  XlaOp lr;
  XlaOp g;
  const OptimizerRows& rows;

  XlaOp Number(float value) const { return ScalarLike(g, value); }

  OptimizerRows operator()(const SgdParams&) const {
    return {rows.weights - lr * g, {}};
  }

  OptimizerRows operator()(const AdagradParams&) const {
    const XlaOp a = rows.slots[0] + g * g;
    const XlaOp zero = ZerosLike(a);
    const XlaOp step = lr * g / xla::Sqrt(a);
    // 0 / 0 where nothing was accumulated yet leaves the weight as it is.
    return {rows.weights - xla::Select(xla::Eq(a, zero), zero, step), {a}};
  }

  OptimizerRows operator()(const AdagradMomentumParams& p) const {
    const XlaOp square = g * g;
    const XlaOp a = p.beta2 == 1.0f ? rows.slots[0] + square
                                    : Number(p.beta2) * rows.slots[0] +
                                          Number(1.0f - p.beta2) * square;
    const XlaOp scaled =
        xla::Pow(a + Number(p.epsilon), Number(-1.0f / p.exponent)) * g;
    const XlaOp momentum = Number(p.momentum);
    const XlaOp m = momentum * rows.slots[1] + scaled;
    const XlaOp step = p.use_nesterov ? momentum * m + scaled : m;
    return {rows.weights - lr * step, {a, m}};
  }

  OptimizerRows operator()(const FtrlParams& p) const {
    const XlaOp before = rows.slots[0];
    const XlaOp a = before + g * g;
    const XlaOp sigma = Power(a, -p.lr_power) - Power(before, -p.lr_power);
    const XlaOp scale = p.multiply_linear_by_lr ? lr : Number(1.0f);
    const XlaOp divisor = p.multiply_linear_by_lr ? Number(1.0f) : lr;
    const XlaOp linear =
        rows.slots[1] + scale * g - sigma / divisor * rows.weights;
    const XlaOp denominator =
        (Power(a, -p.lr_power) + Number(p.beta)) / divisor +
        scale * Number(2.0f * p.l2);
    const XlaOp l1 = scale * Number(p.l1);
    const XlaOp numerator = xla::Clamp(xla::Neg(l1), linear, l1) - linear;
    const XlaOp zero = ZerosLike(denominator);
    return {
        xla::Select(xla::Eq(denominator, zero), zero, numerator / denominator),
        {a, linear}};
  }

  OptimizerRows operator()(const AdamParams& p) const {
    const XlaOp m =
        Number(p.beta1) * rows.slots[0] + Number(1.0f - p.beta1) * g;
    const XlaOp v =
        Number(p.beta2) * rows.slots[1] + Number(1.0f - p.beta2) * (g * g);
    const XlaOp root = p.use_sum_inside_sqrt
                           ? xla::Sqrt(v + Number(p.epsilon * p.epsilon))
                           : xla::Sqrt(v) + Number(p.epsilon);
    return {rows.weights - lr * m / root, {m, v}};
  }

  template <typename Params>
  OptimizerRows operator()(const Params&) const {
    return rows;  // CanLowerOptimizer has refused it
  }

 private:
  XlaOp Power(XlaOp x, float exponent) const {
    if (exponent == 0.5f) return xla::Sqrt(x);
    return xla::Pow(x, Number(exponent));
  }
};

XlaOp Limit(XlaOp x, const Limits& limits) {
  if (!limits.limited()) return x;
  // As the CPU kernels do, so that NaN comes out alike.
  return xla::Min(xla::Max(x, ScalarLike(x, limits.lower)),
                  ScalarLike(x, limits.upper));
}

}  // namespace

Status CanLowerOptimizer(const OptimizerConfig& config) {
  const OptimizerParams& params = config.params;
  if (std::holds_alternative<SgdParams>(params) ||
      std::holds_alternative<AdagradParams>(params) ||
      std::holds_alternative<AdagradMomentumParams>(params) ||
      std::holds_alternative<FtrlParams>(params) ||
      std::holds_alternative<AdamParams>(params)) {
    return OkStatus();
  }
  return Unimplemented(
      "Only SGD, Adagrad, AdagradMomentum, FTRL and Adam can be compiled");
}

OptimizerRows LowerOptimizer(const OptimizerConfig& config, XlaOp learning_rate,
                             XlaOp gradient, const OptimizerRows& rows) {
  const XlaOp g = Limit(gradient, config.gradient_clipping_limits);
  OptimizerRows decayed = rows;
  if (config.weight_decay_factor != 0) {
    XlaOp factor = ScalarLike(g, config.weight_decay_factor);
    if (config.multiply_weight_decay_factor_by_learning_rate) {
      factor = factor * learning_rate;
    }
    decayed.weights = rows.weights - factor * rows.weights;
  }
  OptimizerRows updated =
      std::visit(Formula{learning_rate, g, decayed}, config.params);
  updated.weights = Limit(updated.weights, config.clipping_limits);
  return updated;
}

}  // namespace tf_embed
