#ifndef TF_EMBED_VIRTUAL_TPU_CALLS_H_
#define TF_EMBED_VIRTUAL_TPU_CALLS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tensorflow/core/framework/function.pb.h"
#include "tensorflow/core/framework/node_def.pb.h"
#include "tensorflow/core/framework/node_def_util.h"
#include "tensorflow/core/graph/graph.h"

// A function that calls itself is called, not inlined, by an op of our own:
// TensorFlow's passes follow a PartitionedCall for ever. Each call is a step of
// its own, and nothing in it tells the replicas which of their calls belong
// together. So such functions get an argument more, the call: a number that is
// made from the caller's, the place of the call and the iteration of the loop
// around it, and is the same on all replicas. Collectives meet by it.

namespace tf_embed::virtual_tpu {

// Calls a function: with inputs, outputs and function as PartitionedCall.
inline constexpr char kRecursiveCallOp[] = "TfEmbedRecursiveCall";
// The call that is made from a node of the computation itself.
inline constexpr char kFirstCallOp[] = "TfEmbedFirstCall";
// The call that is made from inside of another, its input.
inline constexpr char kNextCallOp[] = "TfEmbedNextCall";

bool IsCall(const std::string& op);  // of a function by PartitionedCall
bool IsLoop(const std::string& op);
bool IsControlFlow(const std::string& op);  // functional: IsLoop, If, Case

// Names of the functions that a node calls, or has as branches or bodies.
std::vector<std::string> FunctionsOf(tensorflow::AttrSlice attrs);

// Makes a PartitionedCall one of our own.
void MakeRecursiveCall(tensorflow::NodeDef* node);

// Adds the argument. The body of a loop returns it too.
void AddCallArgument(bool returns, tensorflow::FunctionDef* function);

// Makes the nodes of a function that has the argument use it: a call or a
// control flow node passes the next call on, which `next_call`, a node to add,
// makes; a collective meets by its own call.
void PassNextCall(const std::string& channel, tensorflow::NodeDef* node,
                  tensorflow::NodeDef* next_call);
void MeetInCall(tensorflow::NodeDef* node);

// The same for a node of the computation itself: replaces it by one that
// passes the first call on. `first_call` makes that.
absl::Status PassFirstCall(tensorflow::Graph* graph, tensorflow::Node** node,
                           tensorflow::Node** first_call);

// Defines the ops.
void RegisterCallOps();

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_CALLS_H_
