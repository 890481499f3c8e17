#include "virtual_tpu/calls.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tensorflow/core/framework/attr_value.pb.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/node_def_util.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_def_builder.h"
#include "virtual_tpu/attributes.h"
#include "virtual_tpu/collective_ops.h"
#include "virtual_tpu/graph_building.h"

namespace tf_embed::virtual_tpu {
namespace {

using tensorflow::AttrValue;
using tensorflow::Graph;
using tensorflow::Node;
using tensorflow::NodeDef;

constexpr char kCallArgument[] = "tf_embed_call";

// After the data inputs, before the control inputs.
void AppendInput(const std::string& input, NodeDef* node) {
  auto& inputs = *node->mutable_input();
  node->add_input(input);
  const auto control = std::find_if(
      inputs.begin(), inputs.end() - 1,
      [](const auto& name) { return absl::StartsWith(name, "^"); });
  std::rotate(control, inputs.end() - 1, inputs.end());
}

// The node takes, and a loop returns, one int64 more.
void AppendType(NodeDef* node) {
  const bool loop = IsLoop(node->op());
  auto& attrs = *node->mutable_attr();
  attrs[loop ? "T" : "Tin"].mutable_list()->add_type(tensorflow::DT_INT64);
  const auto shapes = attrs.find("output_shapes");
  if (loop && shapes != attrs.end() && shapes->second.list().shape_size() > 0) {
    shapes->second.mutable_list()->add_shape();
  }
}

absl::Status ScalarShape(tensorflow::shape_inference::InferenceContext* c) {
  return tensorflow::shape_inference::ScalarShape(c);
}

}  // namespace

bool IsCall(const std::string& op) {
  return op == "PartitionedCall" || op == "StatefulPartitionedCall";
}

bool IsLoop(const std::string& op) {
  return op == "While" || op == "StatelessWhile";
}

bool IsControlFlow(const std::string& op) {
  return IsLoop(op) || op == "If" || op == "StatelessIf" || op == "Case" ||
         op == "StatelessCase";
}

std::vector<std::string> FunctionsOf(tensorflow::AttrSlice attrs) {
  std::vector<std::string> names;
  for (const auto& [attr_name, attr] : attrs) {
    if (attr.has_func()) names.push_back(attr.func().name());
    for (const auto& func : attr.list().func()) names.push_back(func.name());
  }
  return names;
}

void MakeRecursiveCall(NodeDef* node) {
  node->set_op(kRecursiveCallOp);
  for (const char* attr : {"config", "config_proto", "executor_type"}) {
    node->mutable_attr()->erase(attr);
  }
}

void AddCallArgument(bool returns, tensorflow::FunctionDef* function) {
  const auto add = [](tensorflow::OpDef::ArgDef* arg) {
    arg->set_name(kCallArgument);
    arg->set_type(tensorflow::DT_INT64);
  };
  add(function->mutable_signature()->add_input_arg());
  if (!returns) return;
  add(function->mutable_signature()->add_output_arg());
  (*function->mutable_ret())[kCallArgument] = kCallArgument;
}

void PassNextCall(const std::string& channel, NodeDef* node,
                  NodeDef* next_call) {
  next_call->set_name(absl::StrCat(node->name(), "/", kCallArgument));
  next_call->set_op(kNextCallOp);
  next_call->add_input(kCallArgument);
  (*next_call->mutable_attr())[kChannelAttr].set_s(channel);
  AppendInput(absl::StrCat(next_call->name(), ":call:0"), node);
  AppendType(node);
}

void MeetInCall(NodeDef* node) {
  node->set_op(CollectiveInCall(node->op()));
  AppendInput(kCallArgument, node);
}

absl::Status PassFirstCall(Graph* graph, Node** node, Node** first_call) {
  NodeDef call;
  call.set_name(
      graph->NewName(absl::StrCat((*node)->name(), "/", kCallArgument)));
  call.set_op(kFirstCallOp);
  call.set_device((*node)->requested_device());
  absl::Status status;
  *first_call = graph->AddNode(std::move(call), &status);
  TF_RETURN_IF_ERROR(status);

  // In the same loop, if any, as the node.
  for (const tensorflow::Edge* edge : (*node)->in_edges()) {
    graph->AddControlEdge(edge->src(), *first_call);
    break;
  }
  NodeDef def = (*node)->def();
  AppendType(&def);
  TF_RETURN_IF_ERROR(ReplaceNode(std::move(def), graph, node));
  graph->AddEdge(*first_call, 0, *node, (*node)->num_inputs() - 1);
  return absl::OkStatus();
}

void RegisterCallOps() {
  auto* registry = tensorflow::OpRegistry::Global();
  registry->Register([](tensorflow::OpRegistrationData* op) {
    return tensorflow::OpDefBuilder(kRecursiveCallOp)
        .Input("args: Tin")
        .Output("output: Tout")
        .Attr("Tin: list(type) >= 0")
        .Attr("Tout: list(type) >= 0")
        .Attr("f: func")
        .SetIsStateful()
        .SetShapeFn(tensorflow::shape_inference::UnknownShape)
        .Finalize(op);
  });
  const auto define = [registry](const tensorflow::OpRegistrationData& data) {
    registry->Register([data](tensorflow::OpRegistrationData* op) {
      *op = data;
      return absl::OkStatus();
    });
  };
  for (const bool first : {true, false}) {
    tensorflow::OpRegistrationData data;
    data.op_def.set_name(first ? kFirstCallOp : kNextCallOp);
    // One call is not another: no two nodes may be merged.
    data.op_def.set_is_stateful(true);
    const auto add = [](tensorflow::OpDef::ArgDef* arg, const char* name) {
      arg->set_name(name);
      arg->set_type(tensorflow::DT_INT64);
    };
    if (!first) add(data.op_def.add_input_arg(), "caller");
    add(data.op_def.add_output_arg(), "call");
    data.shape_inference_fn = ScalarShape;
    define(data);
  }
  for (const char* collective : kCollectives) {
    const tensorflow::OpRegistrationData* known = nullptr;
    if (!registry->LookUp(collective, &known).ok()) continue;
    tensorflow::OpRegistrationData data = *known;
    data.op_def.set_name(CollectiveInCall(collective));
    auto* arg = data.op_def.add_input_arg();
    arg->set_name("call");
    arg->set_type(tensorflow::DT_INT64);
    define(data);
  }
}

}  // namespace tf_embed::virtual_tpu
