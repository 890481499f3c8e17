#include "tf_embed/base/simd_targets.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

#include "hwy/highway.h"

// TensorFlow's wheel brings the headers of Highway and no library; these three
// functions are what run-time dispatch and debug assertions need of it.
namespace hwy {

int64_t SupportedTargets() {
  int64_t targets = HWY_STATIC_TARGET;
#if HWY_ARCH_X86 && !defined(HWY_COMPILE_ONLY_STATIC)
  __builtin_cpu_init();
  // All that the compiler may use in code for a target (HWY_TARGET_STR).
  const bool avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
      __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul") &&
      __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512cd") &&
                      __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512bw");
  if (avx2) targets |= HWY_AVX2;
  if (avx512) targets |= HWY_AVX3;
#endif
  return targets;
}

ChosenTarget& GetChosenTarget() {
  static ChosenTarget chosen;
  static const bool initialized = (chosen.Update(SupportedTargets()), true);
  (void)initialized;
  return chosen;
}

void Abort(const char* file, int line, const char* format, ...) {
  std::fprintf(stderr, "%s:%d: ", file, line);
  va_list args;
  va_start(args, format);
  std::vfprintf(stderr, format, args);
  va_end(args);
  std::fputc('\n', stderr);
  std::abort();
}

}  // namespace hwy

namespace tf_embed {

std::vector<SimdTarget> SupportedSimdTargets() {
  std::vector<SimdTarget> targets;
  // Highway gives better targets lower bits.
  for (int64_t left = hwy::SupportedTargets() & HWY_TARGETS; left != 0;
       left &= left - 1) {
    targets.push_back(left & -left);
  }
  return targets;
}

const char* SimdTargetName(SimdTarget target) {
  return hwy::TargetName(target);
}

void ForceSimdTarget(SimdTarget target) {
  hwy::GetChosenTarget().Update(target);
}

void UseBestSimdTarget() {
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

}  // namespace tf_embed
