#include "virtual_tpu/options.h"

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace tf_embed::virtual_tpu {
namespace {

std::atomic<int> num_cores{0};

bool StrictByEnvironment() {
  const char* text = std::getenv(kStrictVariable);
  return text != nullptr && *text != '\0' && std::strcmp(text, "0") != 0;
}

std::atomic<bool>& Strict() {
  static std::atomic<bool> strict{StrictByEnvironment()};
  return strict;
}

Status BadNumber(const std::string& value) {
  return InvalidArgument("number of virtual TPU cores is '", value,
                         "', must be from 1 to ", kMaxCores);
}

}  // namespace

StatusOr<int> ParseNumCores(const char* text) {
  if (text == nullptr || *text == '\0') return 0;
  char* end = nullptr;
  errno = 0;
  const long value = std::strtol(text, &end, 10);
  if (*end != '\0' || errno != 0 || value < 0 || value > kMaxCores) {
    return BadNumber(text);
  }
  return static_cast<int>(value);
}

int NumCores() { return num_cores.load(); }

Status SetNumCores(int n) {
  if (n < 1 || n > kMaxCores) return BadNumber(StrCat(n));
  int before = 0;
  if (!num_cores.compare_exchange_strong(before, n) && before != n) {
    return FailedPrecondition("the virtual TPU already has ", before,
                              " cores and cannot change to ", n);
  }
  return OkStatus();
}

bool StrictMode() { return Strict().load(); }

void SetStrictMode(bool strict) { Strict().store(strict); }

}  // namespace tf_embed::virtual_tpu
