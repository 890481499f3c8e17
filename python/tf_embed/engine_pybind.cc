#include <dlfcn.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "c_api/c_api.h"

namespace py = pybind11;

namespace tf_embed {
namespace {

// The C functions of the plugin that TensorFlow has loaded. This module must
// not link the plugin: it may lie in this package or in tensorflow-plugins/,
// and a second copy would have an engine of its own.
struct Plugin {
  decltype(&TfEmbed_EngineStats) engine_stats;
  decltype(&TfEmbed_Shutdown) shutdown;
  decltype(&TfEmbed_DiscardBatches) discard_batches;
  decltype(&TfEmbed_SimdTarget) simd_target;
  // Of kernels/process_options.h, which is not included because its target
  // would bring the settings themselves.
  double (*recv_timeout)();
  void (*set_recv_timeout)(double seconds);
  void (*set_prune_negative_ids)(int prune);

  static const Plugin& Get() {
    static const Plugin plugin;  // Loaded for the rest of the process.
    return plugin;
  }

 private:
  Plugin() {
    void* library = dlopen("libtf_embed.so", RTLD_NOW | RTLD_NOLOAD);
    if (library == nullptr) {
      throw std::runtime_error(
          "libtf_embed.so is not loaded: call tf_embed.load() first");
    }
    Find(library, "TfEmbed_EngineStats", &engine_stats);
    Find(library, "TfEmbed_Shutdown", &shutdown);
    Find(library, "TfEmbed_DiscardBatches", &discard_batches);
    Find(library, "TfEmbed_SimdTarget", &simd_target);
    Find(library, "TfEmbed_RecvTimeoutSeconds", &recv_timeout);
    Find(library, "TfEmbed_SetRecvTimeoutSeconds", &set_recv_timeout);
    Find(library, "TfEmbed_SetPruneNegativeIds", &set_prune_negative_ids);
  }

  template <typename Function>
  static void Find(void* library, const char* name, Function* function) {
    void* symbol = dlsym(library, name);
    if (symbol == nullptr) {
      throw std::runtime_error(
          std::string("the libtf_embed.so that is loaded has no ") + name +
          "; it belongs to another version of tf_embed");
    }
    *function = reinterpret_cast<Function>(symbol);
  }
};

py::bytes EngineStats() {
  std::string serialized;
  {
    py::gil_scoped_release release;
    Plugin::Get().engine_stats(
        [](void* context, const char* data, size_t size) {
          static_cast<std::string*>(context)->assign(data, size);
        },
        &serialized);
  }
  return serialized;
}

bool Shutdown(const std::string& reason) {
  // Callbacks of what is aborted may want the GIL.
  py::gil_scoped_release release;
  return Plugin::Get().shutdown(reason.c_str()) != 0;
}

int64_t DiscardBatches() {
  py::gil_scoped_release release;
  return Plugin::Get().discard_batches();
}

PYBIND11_MODULE(_engine, module) {
  module.def("stats", &EngineStats);
  module.def("shutdown", &Shutdown, py::arg("reason"));
  module.def("discard_batches", &DiscardBatches);
  module.def("simd_target", [] { return Plugin::Get().simd_target(); });
  module.def("recv_timeout", [] { return Plugin::Get().recv_timeout(); });
  module.def(
      "set_recv_timeout",
      [](double seconds) { Plugin::Get().set_recv_timeout(seconds); },
      py::arg("seconds"));
  module.def(
      "set_prune_negative_ids",
      [](bool prune) { Plugin::Get().set_prune_negative_ids(prune); },
      py::arg("prune"));
}

}  // namespace
}  // namespace tf_embed
