#include "xla/engine_call_builder.h"

#include <cctype>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/config_from_proto.h"
#include "kernels/op_cores.h"
#include "kernels/status_bridge.h"
#include "kernels/step_protocol.h"
#include "tensorflow/core/util/device_name_utils.h"
#include "xla/call_sequence.h"
#include "xla/engine_calls.h"
#include "xla/shape_util.h"

namespace tf_embed {
namespace {

using ::tensorflow::DeviceNameUtils;
using ::tensorflow::OpKernelConstruction;
using ::tensorflow::TensorShape;
using ::tensorflow::XlaOpKernelContext;

// A string attribute as MLIR writes it.
std::string Quoted(const std::string& bytes) {
  std::string text = "\"";
  for (const unsigned char byte : bytes) {
    if (byte < 0x80 && (std::isalnum(byte) != 0)) {
      text += static_cast<char>(byte);
    } else {
      absl::StrAppendFormat(&text, "\\%02X", byte);
    }
  }
  return text + "\"";
}

}  // namespace

absl::StatusOr<std::unique_ptr<EngineCallBuilder>> EngineCallBuilder::Create(
    OpKernelConstruction* ctx) {
  auto builder = std::unique_ptr<EngineCallBuilder>(new EngineCallBuilder);
  absl::Status status = ctx->GetAttr("config", &builder->serialized_config_);
  if (!status.ok()) return status;
  StatusOr<EngineConfig> config =
      ParsePopulatedConfig(builder->serialized_config_);
  if (!config.ok()) return ToAbsl(config.status());
  builder->config_ = *std::move(config);

  // The compiler runs on a device of its own; the one that the program asked
  // for stands in the node.
  const std::string& device = ctx->def().device();
  DeviceNameUtils::ParsedName name;
  const bool placed = DeviceNameUtils::ParseFullName(device, &name) &&
                      name.has_id && name.type != ctx->device_type().type();
  const StatusOr<CoreRange> cores = CoresOfDevice(
      placed ? device : "CPU:0", placed ? name.id : 0, builder->config_);
  if (!cores.ok()) return ToAbsl(cores.status());
  builder->cores_ = *cores;
  return builder;
}

absl::StatusOr<std::vector<xla::Shape>> EngineCallBuilder::ActivationShapes()
    const {
  std::vector<xla::Shape> shapes;
  for (int f = 0; f < static_cast<int>(config_.features.size()); ++f) {
    TensorShape shape;
    const Status status = ActivationShape(config_, f, cores_.count, &shape);
    if (!status.ok()) return ToAbsl(status);
    shapes.push_back(xla::ShapeUtil::MakeShape(xla::F32, shape.dim_sizes()));
  }
  return shapes;
}

absl::StatusOr<std::vector<xla::XlaOp>> EngineCallBuilder::Call(
    XlaOpKernelContext* ctx, const char* target,
    std::vector<xla::XlaOp> operands, std::vector<xla::Shape> results) const {
  operands.push_back(EndOfSequence(ctx));
  results.push_back(xla::ShapeUtil::MakeShape(xla::S32, {}));
  const int num_results = static_cast<int>(results.size());
  const xla::XlaOp call = xla::CustomCall(
      ctx->builder(), target, operands,
      num_results == 1 ? results[0] : xla::ShapeUtil::MakeTupleShape(results),
      absl::StrCat("{", EngineCall::kConfig, " = ", Quoted(serialized_config_),
                   ", ", EngineCall::kFirstCore, " = ", cores_.first,
                   " : i64, ", EngineCall::kNumCores, " = ", cores_.count,
                   " : i64}"),
      /*has_side_effect=*/true, /*output_operand_aliasing=*/{},
      /*literal=*/nullptr, xla::CustomCallSchedule::SCHEDULE_NONE,
      xla::CustomCallApiVersion::API_VERSION_TYPED_FFI);
  std::vector<xla::XlaOp> outputs;
  if (num_results == 1) {
    outputs.push_back(call);
  } else {
    for (int i = 0; i < num_results; ++i) {
      outputs.push_back(xla::GetTupleElement(call, i));
    }
  }
  const absl::Status status = ContinueSequence(ctx, outputs.back());
  if (!status.ok()) return status;
  outputs.pop_back();
  return outputs;
}

}  // namespace tf_embed
