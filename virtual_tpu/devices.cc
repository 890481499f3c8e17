#include "virtual_tpu/devices.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tensorflow/core/common_runtime/copy_tensor.h"
#include "tensorflow/core/common_runtime/local_device.h"
#include "tensorflow/core/framework/allocator.h"
#include "tensorflow/core/framework/device_factory.h"
#include "tensorflow/core/public/session_options.h"
#include "virtual_tpu/cpu_kernel_delegation.h"
#include "virtual_tpu/device_names.h"
#include "virtual_tpu/options.h"

namespace tf_embed::virtual_tpu {
namespace {

using tensorflow::AllocatorAttributes;
using tensorflow::Device;
using tensorflow::DeviceContext;
using tensorflow::DeviceType;
using tensorflow::StatusCallback;
using tensorflow::Tensor;

// What a TPU v3 core has; TensorFlow only reports it.
constexpr tensorflow::Bytes kMemoryLimit(int64_t{16} << 30);

// Copies share the buffer: both sides are the host's memory.
class SharedMemoryContext : public DeviceContext {
 public:
  void CopyCPUTensorToDevice(const Tensor* cpu, Device*, Tensor* device,
                             StatusCallback done, bool) const override {
    *device = *cpu;
    done(absl::OkStatus());
  }
  void CopyDeviceTensorToCPU(const Tensor* device, absl::string_view, Device*,
                             Tensor* cpu, StatusCallback done) override {
    *cpu = *device;
    done(absl::OkStatus());
  }
  void CopyTensorInSameDevice(const Tensor* input, Device*, Tensor* output,
                              StatusCallback done) const override {
    *output = *input;
    done(absl::OkStatus());
  }
};

void ShareTensor(DeviceContext*, DeviceContext*, Device*, Device*,
                 const AllocatorAttributes, const AllocatorAttributes,
                 const Tensor* input, Tensor* output, int,
                 StatusCallback done) {
  *output = *input;
  done(absl::OkStatus());
}

class HostMemoryDevice : public tensorflow::LocalDevice {
 public:
  HostMemoryDevice(const tensorflow::SessionOptions& options,
                   const tensorflow::DeviceAttributes& attributes)
      : LocalDevice(options, attributes), context_(new SharedMemoryContext) {
    info_.default_context = context_.get();
    // Multi-device iterators and prefetching to a device ask for it.
    set_tensorflow_accelerator_device_info(&info_);
  }

  absl::Status Sync() override { return absl::OkStatus(); }

  tensorflow::Allocator* GetAllocator(AllocatorAttributes) override {
    return tensorflow::cpu_allocator();
  }

  absl::Status MakeTensorFromProto(const tensorflow::TensorProto& proto,
                                   const AllocatorAttributes,
                                   Tensor* tensor) override {
    Tensor parsed;
    if (!parsed.FromProto(tensorflow::cpu_allocator(), proto)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "a tensor of type ", tensorflow::DataTypeString(proto.dtype()),
          " cannot be parsed from its proto"));
    }
    *tensor = std::move(parsed);
    return absl::OkStatus();
  }

  absl::Status TryGetDeviceContext(DeviceContext** context) override {
    context_->Ref();
    *context = context_.get();
    return absl::OkStatus();
  }

 private:
  tensorflow::core::RefCountPtr<DeviceContext> context_;
  tensorflow::DeviceBase::AcceleratorDeviceInfo info_;
};

class Factory : public tensorflow::DeviceFactory {
 public:
  explicit Factory(const char* type) : type_(type) {}

  absl::Status ListPhysicalDevices(std::vector<std::string>* devices) override {
    for (int i = 0; i < Count(); ++i) {
      devices->push_back(absl::StrCat("/physical_device:", type_, ":", i));
    }
    return absl::OkStatus();
  }

  absl::Status CreateDevices(
      const tensorflow::SessionOptions& options, const std::string& prefix,
      std::vector<std::unique_ptr<Device>>* devices) override {
    // Here and not when the plugin is loaded: other plugins' kernels count too.
    DelegateToCpuKernels();
    for (int i = 0; i < Count(); ++i) {
      devices->push_back(std::make_unique<HostMemoryDevice>(
          options, Device::BuildDeviceAttributes(
                       absl::StrCat(prefix, "/device:", type_, ":", i),
                       DeviceType(type_), kMemoryLimit,
                       tensorflow::DeviceLocality(), "tf_embed virtual TPU")));
    }
    return absl::OkStatus();
  }

 private:
  int Count() const { return type_ == kTpuSystemType ? 1 : NumCores(); }

  const std::string type_;
};

}  // namespace

void RegisterDevices() {
  // Below the CPU's priority (60 where nothing else is asked for): ops without
  // a device must not move to the TPU.
  tensorflow::DeviceFactory::Register(
      kTpuType, std::make_unique<Factory>(kTpuType), /*priority=*/40,
      /*is_pluggable_device=*/false);
  tensorflow::DeviceFactory::Register(
      kTpuSystemType, std::make_unique<Factory>(kTpuSystemType),
      /*priority=*/30, /*is_pluggable_device=*/false);
  for (const char* from : {"CPU", kTpuType, kTpuSystemType}) {
    for (const char* to : {"CPU", kTpuType, kTpuSystemType}) {
      const DeviceType source(from), target(to);
      if (source == target && source == DeviceType("CPU")) continue;
      // An error would mean that the copy is there already.
      tensorflow::CopyTensor::Register(source, target, ShareTensor,
                                       /*is_pluggable_device=*/false)
          .IgnoreError();
    }
  }
}

}  // namespace tf_embed::virtual_tpu
