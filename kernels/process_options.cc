#include "kernels/process_options.h"

#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>

namespace tf_embed {
namespace {

// A century; longer limits would overflow the clock's arithmetic.
constexpr double kLongestSeconds = 3.15e9;

int64_t NanosecondsOf(double seconds) {
  if (!(seconds > 0)) return 0;  // NaN included
  // Up: 0 would be no limit.
  return std::llround(std::ceil(std::fmin(seconds, kLongestSeconds) * 1e9));
}

constexpr char kTimeoutVariable[] = "TF_EMBED_RECV_TIMEOUT_S";
constexpr char kPruneVariable[] = "TF_EMBED_PRUNE_NEGATIVE_IDS";

// The value of an environment variable; empty where there is none.
std::string FromEnvironment(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? "" : text;
}

double SecondsFromEnvironment() {
  return std::strtod(FromEnvironment(kTimeoutVariable).c_str(), nullptr);
}

bool PruneFromEnvironment() { return FromEnvironment(kPruneVariable) == "1"; }

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

Status CheckEnvironment() {
  const std::string seconds = FromEnvironment(kTimeoutVariable);
  char* end = nullptr;
  const double value = std::strtod(seconds.c_str(), &end);
  if (*end != '\0' || !(value >= 0)) {  // NaN is neither
    return InvalidArgument("The environment variable ", kTimeoutVariable,
                           " is '", seconds,
                           "', must be a number of seconds, 0 or more");
  }
  const std::string prune = FromEnvironment(kPruneVariable);
  if (!prune.empty() && prune != "0" && prune != "1") {
    return InvalidArgument("The environment variable ", kPruneVariable, " is '",
                           prune, "', must be 0 or 1");
  }
  return OkStatus();
}

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
