#include "kernels/process_options.h"

#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace tf_embed {
namespace {

// A century; longer limits would overflow the clock's arithmetic.
constexpr double kLongestSeconds = 3.15e9;

int64_t NanosecondsOf(double seconds) {
  if (!(seconds > 0)) return 0;  // NaN included
  return std::llround(std::fmin(seconds, kLongestSeconds) * 1e9);
}

double SecondsFromEnvironment() {
  const char* text = std::getenv("TF_EMBED_RECV_TIMEOUT_S");
  return text == nullptr ? 0 : std::strtod(text, nullptr);
}

bool PruneFromEnvironment() {
  const char* text = std::getenv("TF_EMBED_PRUNE_NEGATIVE_IDS");
  return text != nullptr && std::strcmp(text, "1") == 0;
}

std::atomic<int64_t>& TimeoutNs() {
  static std::atomic<int64_t> timeout_ns{
      NanosecondsOf(SecondsFromEnvironment())};
  return timeout_ns;
}

std::atomic<bool>& Prune() {
  static std::atomic<bool> prune{PruneFromEnvironment()};
  return prune;
}

}  // namespace

std::optional<std::chrono::nanoseconds> RecvTimeout() {
  const int64_t ns = TimeoutNs().load(std::memory_order_relaxed);
  if (ns == 0) return std::nullopt;
  return std::chrono::nanoseconds(ns);
}

bool PruneNegativeIds() { return Prune().load(std::memory_order_relaxed); }

}  // namespace tf_embed

extern "C" void TfEmbed_SetRecvTimeoutSeconds(double seconds) {
  tf_embed::TimeoutNs().store(tf_embed::NanosecondsOf(seconds),
                              std::memory_order_relaxed);
}

extern "C" double TfEmbed_RecvTimeoutSeconds() {
  return tf_embed::TimeoutNs().load(std::memory_order_relaxed) * 1e-9;
}

extern "C" void TfEmbed_SetPruneNegativeIds(int prune) {
  tf_embed::Prune().store(prune != 0, std::memory_order_relaxed);
}
