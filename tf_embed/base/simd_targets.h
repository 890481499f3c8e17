#ifndef TF_EMBED_TF_EMBED_BASE_SIMD_TARGETS_H_
#define TF_EMBED_TF_EMBED_BASE_SIMD_TARGETS_H_

#include <cstdint>
#include <vector>

// The SIMD targets we build for. Every file that uses Highway includes this
// before any header of Highway, so that all agree.
//
// x86: SSE2, which runs everywhere, AVX2 and AVX-512, chosen at run time. The
// targets left out offer nothing to kernels of float loads, sums, products and
// square roots, and each costs compile time and size. Arm: NEON.
#define HWY_DISABLED_TARGETS                                           \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_AVX3_ZEN4 | HWY_AVX3_SPR | \
   HWY_AVX10_2 | HWY_ALL_SVE | HWY_NEON | HWY_NEON_BF16)

namespace tf_embed {

// A HWY_TARGET value; SimdTargetName spells it ("AVX2").
using SimdTarget = int64_t;

// The targets that are both built and supported by this machine, best first.
std::vector<SimdTarget> SupportedSimdTargets();
const char* SimdTargetName(SimdTarget target);

// From now on kernels, and optimizers created from now on, use `target`, one
// of SupportedSimdTargets(). For tests and benchmarks; not thread-safe.
void ForceSimdTarget(SimdTarget target);
// Undoes ForceSimdTarget.
void UseBestSimdTarget();

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_BASE_SIMD_TARGETS_H_
