#include "tf_embed/base/memory_info.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string>

namespace tf_embed {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

// The number a file begins with; none if it is missing or says "max".
std::optional<int64_t> ReadNumber(const std::string& path) {
  std::ifstream in(path);
  int64_t value;
  if (in >> value) return value;
  return std::nullopt;
}

// The number that follows `key` in a file of "key value" lines, times `unit`.
std::optional<int64_t> ReadField(const std::string& path,
                                 const std::string& key, int64_t unit) {
  std::ifstream in(path);
  std::string line;
  while (std::getline(in, line)) {
    std::istringstream fields(line);
    std::string name;
    int64_t value;
    if (fields >> name >> value && name == key) return value * unit;
  }
  return std::nullopt;
}

struct CgroupFiles {
  const char* limit;
  const char* usage;
  const char* reclaimable;  // key in memory.stat: page cache that can be freed
};
constexpr CgroupFiles kVersion1 = {
    "/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file"};
constexpr CgroupFiles kVersion2 = {"/memory.max", "/memory.current",
                                   "inactive_file"};

// What the group at `mount` + `group` and the groups above it leave.
int64_t CgroupAvailable(const std::string& mount, std::string group,
                        const CgroupFiles& files) {
  int64_t available = kUnlimited;
  while (true) {
    const std::string dir = mount + group;
    const std::optional<int64_t> limit = ReadNumber(dir + files.limit);
    const std::optional<int64_t> usage = ReadNumber(dir + files.usage);
    if (limit && usage) {
      const int64_t reclaimable =
          ReadField(dir + "/memory.stat", files.reclaimable, 1).value_or(0);
      available =
          std::min(available,
                   std::max<int64_t>(
                       *limit - std::max<int64_t>(*usage - reclaimable, 0), 0));
    }
    if (group.empty()) return available;
    group.erase(group.rfind('/'));
  }
}

}  // namespace

int64_t AvailableMemoryBytes(const std::string& root) {
  int64_t available = ReadField(root + "/proc/meminfo", "MemAvailable:", 1024)
                          .value_or(kUnlimited);
  // Lines such as "0::/user.slice" (v2) and "5:memory:/docker/1f" (v1). In a
  // container the path may name a group outside of what is mounted; the walk
  // upwards then still meets the container's own limit at the mount point.
  std::ifstream in(root + "/proc/self/cgroup");
  std::string line;
  while (std::getline(in, line)) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers =
        "," + line.substr(first + 1, second - first - 1) + ",";
    std::string group = line.substr(second + 1);
    if (group.empty() || group[0] != '/') continue;
    if (group == "/") group.clear();
    if (controllers == ",,") {
      available = std::min(available, CgroupAvailable(root + "/sys/fs/cgroup",
                                                      group, kVersion2));
    } else if (controllers.find(",memory,") != std::string::npos) {
      available = std::min(
          available,
          CgroupAvailable(root + "/sys/fs/cgroup/memory", group, kVersion1));
    }
  }
  return available;
}

int64_t AvailableMemoryBytes() { return AvailableMemoryBytes(""); }

int64_t ResidentMemoryBytes() {
  std::ifstream in("/proc/self/statm");
  int64_t total_pages, resident_pages;
  if (!(in >> total_pages >> resident_pages)) return 0;
  return resident_pages * sysconf(_SC_PAGESIZE);
}

}  // namespace tf_embed
