#include "kernels/kernel_registration.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tensorflow/core/framework/kernel_def.pb.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tf_embed {
namespace {

tensorflow::OpKernel* NoKernel(tensorflow::OpKernelConstruction*) {
  return nullptr;
}

int CountKernels(const std::string& op, const std::string& device_type) {
  int count = 0;
  const auto kernels = tensorflow::GetRegisteredKernelsForOp(op);
  for (const auto& kernel : kernels.kernel()) {
    count += kernel.device_type() == device_type;
  }
  return count;
}

TEST(KernelRegistrationTest, RegistersWhatIsMissing) {
  const std::vector<KernelEntry> entries = {{"TestOnlyOp", NoKernel}};
  EXPECT_EQ(RegisterMissingKernels("CPU", entries),
            std::vector<std::string>{"TestOnlyOp"});
  EXPECT_EQ(CountKernels("TestOnlyOp", "CPU"), 1);
}

// As when the plugin is loaded twice, or on a TPU host.
TEST(KernelRegistrationTest, StepsAsideWhereThereIsAKernel) {
  const std::vector<KernelEntry> entries = {{"TestOnlyTwice", NoKernel}};
  RegisterMissingKernels("CPU", entries);
  EXPECT_TRUE(RegisterMissingKernels("CPU", entries).empty());
  EXPECT_EQ(CountKernels("TestOnlyTwice", "CPU"), 1);
}

TEST(KernelRegistrationTest, AnotherDeviceTypeDoesNotCount) {
  const std::vector<KernelEntry> entries = {{"TestOnlyDevices", NoKernel}};
  EXPECT_EQ(RegisterMissingKernels("TPU", entries).size(), 1);
  EXPECT_EQ(RegisterMissingKernels("CPU", entries).size(), 1);
  EXPECT_EQ(CountKernels("TestOnlyDevices", "CPU"), 1);
  EXPECT_EQ(CountKernels("TestOnlyDevices", "TPU"), 1);
}

TEST(KernelRegistrationTest, TablesAreForTheCpu) {
  const KernelTable table({{"TestOnlyTable", NoKernel}});
  EXPECT_EQ(CountKernels("TestOnlyTable", "CPU"), 1);
}

}  // namespace
}  // namespace tf_embed
