// Lies in tensorflow-plugins/, whose libraries TensorFlow loads when it is
// imported, and loads libtf_embed.so in turn: a program need not mention it.
//
// The plugin itself must not lie there. Built for another TensorFlow it could
// not be loaded, and `import tensorflow` would fail for every program of that
// environment. So this library, which needs nothing from TensorFlow, looks
// first, and where something is wrong it leaves TensorFlow as it is; `import
// tf_embed` then says what.
//
// Where the environment asks for a virtual TPU, it also has the Python package
// imported, without which TensorFlow's TPUClusterResolver would not find it.
//
// TF_EMBED_AUTOLOAD=0 in the environment turns it off.

#include <dlfcn.h>
#include <glob.h>

#include <cstdlib>
#include <cstring>
#include <string>

namespace {

bool Exists(const std::string& pattern) {
  glob_t found = {};
  const bool exists = glob(pattern.c_str(), 0, nullptr, &found) == 0;
  globfree(&found);
  return exists;
}

// The folder above that of this library: site-packages.
std::string SitePackages() {
  static const char here = 0;
  Dl_info info;
  if (dladdr(&here, &info) == 0 || info.dli_fname == nullptr) return "";
  std::string path = info.dli_fname;
  for (int i = 0; i < 2; ++i) {
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return "";
    path.resize(slash);
  }
  return path;
}

// Has the interpreter import tf_embed between two of its instructions: here it
// is inside of dlopen, whose lock another thread may wait for. Looked up since
// a program without Python loads plugins too.
void ImportPackageSoon() {
  using AddPendingCall = int (*)(int (*call)(void*), void* argument);
  const auto add = reinterpret_cast<AddPendingCall>(
      dlsym(RTLD_DEFAULT, "Py_AddPendingCall"));
  if (add == nullptr) return;
  const auto import = [](void*) {
    using Run = int (*)(const char* program);
    const auto run =
        reinterpret_cast<Run>(dlsym(RTLD_DEFAULT, "PyRun_SimpleString"));
    // An exception is printed; TensorFlow works all the same.
    if (run != nullptr) run("__import__('tf_embed')");
    return 0;
  };
  add(import, nullptr);
}

__attribute__((constructor)) void Load() {
  const char* wanted = std::getenv("TF_EMBED_AUTOLOAD");
  if (wanted != nullptr && std::strcmp(wanted, "0") == 0) return;
  const std::string site = SitePackages();
  // tensorflow, tensorflow_cpu, ...: of the minor version of the build.
  const std::string minor(TF_EMBED_TF_MINOR);
  if (site.empty() ||
      !Exists(site + "/tensorflow*-" + minor + ".*.dist-info")) {
    return;
  }
  // Fails, with no harm done, where a symbol is missing.
  const std::string plugin = site + "/tf_embed/libtf_embed.so";
  if (dlopen(plugin.c_str(), RTLD_NOW | RTLD_LOCAL) == nullptr) return;
  if (std::getenv("TF_EMBED_VIRTUAL_TPU") != nullptr) ImportPackageSoon();
}

}  // namespace
