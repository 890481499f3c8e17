// Lies in tensorflow-plugins/, whose libraries TensorFlow loads when it is
// imported, and loads libtf_embed.so in turn: a program need not mention it.
//
// The plugin itself must not lie there. Built for another TensorFlow it could
// not be loaded, and `import tensorflow` would fail for every program of that
// environment. So this library, which needs nothing from TensorFlow, looks
// first, and where something is wrong it leaves TensorFlow as it is; `import
// tf_embed` then says what.
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
  dlopen((site + "/tf_embed/libtf_embed.so").c_str(), RTLD_NOW | RTLD_LOCAL);
}

}  // namespace
