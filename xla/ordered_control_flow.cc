// If, Case and While whose functions call the engine, in programs of XLA:CPU.
// TensorFlow's lowerings give their inputs and outputs to a computation of its
// own, in which a sequence of calls of its own begins: here it becomes one link
// of the sequence around it.

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "tensorflow/compiler/tf2xla/kernels/case_op.h"
#include "tensorflow/compiler/tf2xla/kernels/if_op.h"
#include "tensorflow/compiler/tf2xla/kernels/while_op.h"
#include "tensorflow/compiler/tf2xla/xla_compiler.h"
#include "tensorflow/compiler/tf2xla/xla_expression.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "tensorflow/compiler/tf2xla/xla_op_registry.h"
#include "tensorflow/core/common_runtime/function_body.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/kernel_def_builder.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/graph/graph.h"
#include "tensorflow/core/graph/node_builder.h"
#include "tensorflow/core/tpu/tpu_defs.h"
#include "xla/call_sequence.h"
#include "xla/lowering_registration.h"
#include "xla/shape_util.h"

namespace tf_embed {

// Only put into graphs that are being compiled, and stateful, so that it stays
// there.
REGISTER_OP("TfEmbed>InSequence")
    .Input("input: T")
    .Output("output: T")
    .Attr("T: type")
    .SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::UnchangedShape)
    .Doc(R"doc(
The input, which in a compiled program is there only after the engine's calls
before it.
)doc");

namespace {

using ::tensorflow::DataType;
using ::tensorflow::FunctionBody;
using ::tensorflow::NameAttrList;
using ::tensorflow::Node;
using ::tensorflow::OpKernelConstruction;
using ::tensorflow::PartialTensorShape;
using ::tensorflow::XlaCompiler;
using ::tensorflow::XlaExpression;
using ::tensorflow::XlaOpKernel;
using ::tensorflow::XlaOpKernelContext;

class InSequenceLowering : public XlaOpKernel {
 public:
  using XlaOpKernel::XlaOpKernel;

  void Compile(XlaOpKernelContext* ctx) override {
    OP_REQUIRES_VALUE(const xla::XlaOp output, ctx,
                      InSequence(ctx, ctx->Input(0)));
    ctx->SetOutput(0, output);
  }
};

const LoweringTable lowerings({
    {"TfEmbed>InSequence", CreateLowering<InSequenceLowering>},
});

// The functions that a node calls.
template <typename Attributes>
std::vector<NameAttrList> FunctionsOf(const Attributes& attributes) {
  std::vector<NameAttrList> functions;
  for (const auto& [name, value] : attributes) {
    if (value.has_func()) functions.push_back(value.func());
    for (const NameAttrList& function : value.list().func()) {
      functions.push_back(function);
    }
  }
  return functions;
}

// Whether an op of a function does, or of one that it calls. A function that is
// not known the lowering reports.
//   seen: the functions that were looked at, as they may call each other
bool FunctionCallsEngine(XlaCompiler* compiler, const NameAttrList& function,
                         std::set<std::string>* seen) {
  const FunctionBody* body = nullptr;
  if (!seen->insert(function.name()).second ||
      !compiler->FindFunctionBody(function, &body).ok()) {
    return false;
  }
  for (const Node* node : body->graph->op_nodes()) {
    if (CallsEngine(node->type_string())) return true;
    std::vector<NameAttrList> called = FunctionsOf(node->attrs());
    if (node->IsFunctionCall() && !node->IsPartitionedCall()) {
      called.emplace_back().set_name(node->type_string());
    }
    for (const NameAttrList& inner : called) {
      if (FunctionCallsEngine(compiler, inner, seen)) return true;
    }
  }
  return false;
}

// Whether an input or output can carry the sequence on.
bool IsArray(DataType type) {
  return type != tensorflow::DT_RESOURCE && type != tensorflow::DT_VARIANT &&
         type != tensorflow::DT_STRING;
}

// Has a result of a branch be made in it, even if it is an argument or a
// constant: only then must who reads the result wait for the branch.
absl::Status MakeInBranch(XlaCompiler* compiler, const NameAttrList& function,
                          int result) {
  const FunctionBody* body = nullptr;
  absl::Status status = compiler->FindFunctionBody(function, &body);
  if (!status.ok()) return status;
  Node* const returned = body->ret_nodes[result];
  const tensorflow::Edge* edge = nullptr;
  status = returned->input_edge(0, &edge);
  if (!status.ok()) return status;
  if (edge->src()->type_string() == "TfEmbed>InSequence") return status;
  // The compiler's own copy of the graph; each compilation has one.
  Node* made = nullptr;
  status =
      tensorflow::NodeBuilder(body->graph->NewName("tf_embed/in_sequence"),
                              "TfEmbed>InSequence", body->graph->op_registry())
          .Input(edge->src(), edge->src_output())
          .Finalize(body->graph, &made);
  if (!status.ok()) return status;
  return body->graph->UpdateEdge(made, 0, returned, 0);
}

// Inputs of an op, replaced while it lives.
class ReplacedInputs {
 public:
  explicit ReplacedInputs(XlaOpKernelContext* ctx) : ctx_(ctx) {}
  ~ReplacedInputs() {
    // Two inputs may be one tensor.
    for (; !kept_.empty(); kept_.pop_back()) {
      *kept_.back().first = kept_.back().second;
    }
  }
  ReplacedInputs(const ReplacedInputs&) = delete;
  ReplacedInputs& operator=(const ReplacedInputs&) = delete;

  absl::Status PutInSequence(int input) {
    auto* expression =
        const_cast<XlaExpression*>(XlaExpression::CastExpressionFromTensor(
            ctx_->op_kernel_context()->input(input)));
    const absl::StatusOr<xla::XlaOp> op =
        InSequence(ctx_, expression->AsXlaOp(ctx_->builder()));
    if (!op.ok()) return op.status();
    kept_.emplace_back(expression, *expression);
    *expression = XlaExpression::XlaOp(*op, ctx_->input_type(input));
    return absl::OkStatus();
  }

 private:
  XlaOpKernelContext* const ctx_;
  std::vector<std::pair<XlaExpression*, XlaExpression>> kept_;
};

// TensorFlow's lowering `Base` of If, Case or While, as a link of the sequence
// where a function of it calls the engine.
template <typename Base, bool kLoop>
class OrderedLowering : public Base {
 public:
  explicit OrderedLowering(OpKernelConstruction* ctx)
      : Base(ctx), functions_(FunctionsOf(ctx->def().attr())) {
    if (ctx->HasAttr("output_shapes")) {
      OP_REQUIRES_OK(ctx, ctx->GetAttr("output_shapes", &output_shapes_));
    }
  }

  void Compile(XlaOpKernelContext* ctx) override {
    std::vector<NameAttrList> callers;
    for (const NameAttrList& function : functions_) {
      std::set<std::string> seen;
      if (FunctionCallsEngine(ctx->compiler(), function, &seen)) {
        callers.push_back(function);
      }
    }
    if (callers.empty()) return Base::Compile(ctx);

    const std::vector<int> results =
        kLoop ? LoopVariables(ctx) : BranchResult(ctx);
    ReplacedInputs inputs(ctx);
    // All variables of a loop: one whose number of iterations is known to the
    // compiler it may make something else of.
    for (const int input : kLoop ? results : std::vector<int>{0}) {
      OP_REQUIRES_OK(ctx, inputs.PutInSequence(input));
    }
    if (!kLoop && !results.empty()) {
      for (const NameAttrList& caller : callers) {
        OP_REQUIRES_OK(ctx, MakeInBranch(ctx->compiler(), caller, results[0]));
      }
    }
    Base::Compile(ctx);
    if (!ctx->status().ok()) return;
    if (results.empty()) {
      OP_REQUIRES_OK(ctx, BreakSequence(ctx));
      return;
    }
    std::vector<xla::XlaOp> outputs;
    for (const int result : results) {
      outputs.push_back(XlaExpression::CastExpressionFromTensor(
                            *ctx->op_kernel_context()->mutable_output(result))
                            ->AsXlaOp(ctx->builder()));
    }
    OP_REQUIRES_OK(ctx, WaitInSequence(ctx, outputs));
  }

 private:
  // The smallest result of a static shape, if any has one.
  std::vector<int> BranchResult(XlaOpKernelContext* ctx) const {
    int smallest = -1;
    int64_t smallest_size = 0;
    for (int i = 0; i < static_cast<int>(output_shapes_.size()); ++i) {
      const int64_t size = output_shapes_[i].num_elements();  // -1: not known
      if (size < 0 || !IsArray(ctx->expected_output_dtype(i))) continue;
      if (smallest < 0 || size < smallest_size) {
        smallest = i;
        smallest_size = size;
      }
    }
    return smallest < 0 ? std::vector<int>{} : std::vector<int>{smallest};
  }

  // Variables that are so small that copies of them cost nothing; all, if none
  // is.
  static std::vector<int> LoopVariables(XlaOpKernelContext* ctx) {
    constexpr int64_t kSmall = 64;
    std::vector<int> all;
    std::vector<int> small;
    for (int i = 0; i < ctx->num_inputs(); ++i) {
      if (!IsArray(ctx->input_type(i))) continue;
      const absl::StatusOr<xla::Shape> shape = ctx->InputXlaShape(i);
      if (!shape.ok() || !shape->IsArray() || !shape->is_static()) continue;
      all.push_back(i);
      if (xla::ShapeUtil::ElementsIn(*shape) <= kSmall) small.push_back(i);
    }
    return small.empty() ? all : small;
  }

  const std::vector<NameAttrList> functions_;
  std::vector<PartialTensorShape> output_shapes_;
};

// In front of TensorFlow's own.
template <typename Base, bool kLoop>
void Register(const char* op) {
  tensorflow::kernel_factory::OpKernelRegistrar(
      tensorflow::KernelDefBuilder(op)
          .Device(tensorflow::DEVICE_CPU_XLA_JIT)
          .Priority(1)
          .Build(),
      op, CreateLowering<OrderedLowering<Base, kLoop>>);
}

const bool registered = [] {
  Register<tensorflow::XlaIfOp, /*kLoop=*/false>("If");
  Register<tensorflow::XlaCaseOp, /*kLoop=*/false>("Case");
  Register<tensorflow::XlaWhileOp, /*kLoop=*/true>("While");
  return true;
}();

}  // namespace
}  // namespace tf_embed
