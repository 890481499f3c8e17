// core_worker kernels|int8|engine|memory: a worker as benchmarks/worker.py
// describes it.

#include <chrono>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "benchmarks/core/inputs.h"
#include "benchmarks/core/system.h"
#include "tf_embed/base/simd_targets.h"

namespace tf_embed {
namespace {

class Worker {
 public:
  explicit Worker(std::string part) : part_(std::move(part)) {}

  // The answer to one line.
  StatusOr<std::string> Obey(std::istream& line) {
    std::string command;
    line >> command;
    if (command == "versions")
      return StrCat("SIMD target ", SimdTargetName(SupportedSimdTargets()[0]));
    if (command == "warm_up") return std::string();
    if (command == "setup") return SetUp(line);
    if (system_ == nullptr) {
      return FailedPrecondition("'", command, "' before setup");
    }
    if (command == "write") return Write(line);
    if (command == "step") return Step(line);
    if (command == "time") return Time(line);
    return Unimplemented("no command '", command, "'");
  }

 private:
  StatusOr<std::string> SetUp(std::istream& line) {
    std::string folder;
    line >> folder;
    system_ = nullptr;
    TF_EMBED_ASSIGN_OR_RETURN(inputs_, ReadInputs(folder));
    TF_EMBED_ASSIGN_OR_RETURN(system_, MakeSystem());
    return std::string();
  }

  StatusOr<std::unique_ptr<System>> MakeSystem() const {
    if (part_ == "engine") return MakeEngineSystem(inputs_);
    if (part_ == "memory") return MakeMemorySystem(inputs_);
    return MakeKernelSystem(
        inputs_, part_ == "int8" ? RowFormat::kInt8 : RowFormat::kFloat32);
  }

  StatusOr<std::string> Write(std::istream& line) {
    int batch = 0;
    std::string path;
    line >> batch >> path;
    TF_EMBED_RETURN_IF_ERROR(system_->Forward(batch));
    const Span<const float> outputs = system_->outputs();
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(outputs.data()),
               outputs.size() * sizeof(float));
    if (!file) return Internal("cannot write ", path);
    return std::string();
  }

  StatusOr<std::string> Step(std::istream& line) {
    int batch = 0;
    line >> batch;
    TF_EMBED_RETURN_IF_ERROR(system_->Step(batch));
    return std::string();
  }

  StatusOr<std::string> Time(std::istream& line) {
    using Clock = std::chrono::steady_clock;
    std::string kind;
    double seconds = 0;
    int first = 0;
    line >> kind >> seconds >> first;
    const bool step = kind == "step";
    if (!step && kind != "forward") {
      return Unimplemented("no kind of call '", kind, "'");
    }
    const int num_batches = static_cast<int>(inputs_.batches.size());
    std::ostringstream times;
    const auto end = Clock::now() + std::chrono::nanoseconds(
                                        static_cast<int64_t>(seconds * 1e9));
    int b = first % num_batches;
    do {
      const auto begin = Clock::now();
      const Status status = step ? system_->Step(b) : system_->Forward(b);
      const std::chrono::nanoseconds duration = Clock::now() - begin;
      TF_EMBED_RETURN_IF_ERROR(status);
      times << duration.count() << ' ';
      b = (b + 1) % num_batches;
    } while (Clock::now() < end);
    return times.str();
  }

  const std::string part_;
  Inputs inputs_;
  std::unique_ptr<System> system_;
};

}  // namespace
}  // namespace tf_embed

int main(int argc, char** argv) {
  const std::string part = argc == 2 ? argv[1] : "";
  if (part != "kernels" && part != "int8" && part != "engine" &&
      part != "memory") {
    std::cerr << "usage: core_worker kernels|int8|engine|memory\n";
    return 2;
  }
  tf_embed::Worker worker(part);
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    const tf_embed::StatusOr<std::string> answer = worker.Obey(words);
    if (answer.ok()) {
      std::cout << "ok " << *answer << std::endl;
    } else {
      std::cout << "error " << answer.status().message() << std::endl;
    }
  }
  return 0;
}
