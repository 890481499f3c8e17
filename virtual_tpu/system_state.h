#ifndef TF_EMBED_VIRTUAL_TPU_SYSTEM_STATE_H_
#define TF_EMBED_VIRTUAL_TPU_SYSTEM_STATE_H_

#include "absl/status/status.h"

namespace tf_embed::virtual_tpu {

// Fails unless the TPU system is initialized. Each TPU computation begins with
// one, as the system may be shut down between two steps.
inline constexpr char kSystemCheckOp[] = "TfEmbedCheckTpuSystem";

void SetSystemInitialized(bool initialized);

// FailedPrecondition unless initialized.
absl::Status CheckSystemInitialized();

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_SYSTEM_STATE_H_
