#ifndef TF_EMBED_C_API_C_API_H_
#define TF_EMBED_C_API_C_API_H_

#include <stddef.h>
#include <stdint.h>

// What libtf_embed.so offers besides ops, for other languages. A caller finds
// these functions in the library that TensorFlow has loaded; linking a second
// copy of the engine would give it state of its own. (The settings of the
// process are in kernels/process_options.h.)

#ifdef __cplusplus
extern "C" {
#endif

#define TF_EMBED_EXPORT __attribute__((visibility("default")))

// Calls `receive(context, data, size)` once, before it returns, with the
// counters of the active engine as a serialized tf_embed.proto.EngineStats.
// `data` is valid during the call only.
TF_EMBED_EXPORT void TfEmbed_EngineStats(void (*receive)(void* context,
                                                         const char* data,
                                                         size_t size),
                                         void* context);

// Shuts the active engine down and drops its tables; what waits for a batch
// fails with Aborted, "... `reason` ...". Returns 1 if there was an engine.
TF_EMBED_EXPORT int TfEmbed_Shutdown(const char* reason);

// Drops all batches that were enqueued or received and not sent; tables stay.
// Returns how many; 0 where there is no engine.
TF_EMBED_EXPORT int64_t TfEmbed_DiscardBatches(void);

// Name of the instruction set that the kernels use on this machine ("AVX2").
TF_EMBED_EXPORT const char* TfEmbed_SimdTarget(void);

#ifdef __cplusplus
}  // extern "C"
#endif

#endif  // TF_EMBED_C_API_C_API_H_
