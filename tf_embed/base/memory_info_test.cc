#include "tf_embed/base/memory_info.h"

#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace tf_embed {
namespace {

// A directory that stands in for "/".
class MemoryInfoTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/memory_info_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }

  void Write(const std::string& path, const std::string& text) {
    for (size_t slash = path.find('/', 1); slash != std::string::npos;
         slash = path.find('/', slash + 1)) {
      mkdir((root_ + path.substr(0, slash)).c_str(), 0777);
    }
    std::ofstream(root_ + path) << text;
  }

  std::string root_;
};

TEST_F(MemoryInfoTest, NothingKnownMeansUnlimited) {
  EXPECT_EQ(AvailableMemoryBytes(root_), std::numeric_limits<int64_t>::max());
}

TEST_F(MemoryInfoTest, TakesTheMachinesAvailableMemory) {
  Write("/proc/meminfo", "MemTotal: 900 kB\nMemAvailable:   100 kB\n");
  EXPECT_EQ(AvailableMemoryBytes(root_), 102400);
}

TEST_F(MemoryInfoTest, Version2LimitOfAGroupAboveCounts) {
  Write("/proc/meminfo", "MemAvailable: 1000000 kB\n");
  Write("/proc/self/cgroup", "0::/outer/inner\n");
  Write("/sys/fs/cgroup/outer/inner/memory.max", "max\n");
  Write("/sys/fs/cgroup/outer/inner/memory.current", "10\n");
  Write("/sys/fs/cgroup/outer/memory.max", "5000\n");
  Write("/sys/fs/cgroup/outer/memory.current", "3000\n");
  Write("/sys/fs/cgroup/outer/memory.stat", "anon 2000\ninactive_file 500\n");
  EXPECT_EQ(AvailableMemoryBytes(root_), 2500);
}

TEST_F(MemoryInfoTest, Version1LimitAtTheMountPointOfAContainer) {
  Write("/proc/self/cgroup", "9:cpu,cpuacct:/x\n5:memory:/docker/1f\n");
  Write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "7000\n");
  Write("/sys/fs/cgroup/memory/memory.usage_in_bytes", "6000\n");
  EXPECT_EQ(AvailableMemoryBytes(root_), 1000);
}

TEST_F(MemoryInfoTest, UsageAboveTheLimitLeavesNothing) {
  Write("/proc/self/cgroup", "0::/\n");
  Write("/sys/fs/cgroup/memory.max", "5000\n");
  Write("/sys/fs/cgroup/memory.current", "6000\n");
  EXPECT_EQ(AvailableMemoryBytes(root_), 0);
}

TEST(ResidentMemoryTest, ThisProcessUsesSomeMemory) {
  EXPECT_GT(ResidentMemoryBytes(), 100 * 1024);
  EXPECT_GT(AvailableMemoryBytes(), 0);
}

}  // namespace
}  // namespace tf_embed
