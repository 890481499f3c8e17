#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "tf_embed/engine/engine.h"

namespace tf_embed {
namespace {

struct Slot {
  std::mutex mutex;
  std::shared_ptr<Engine> engine;
};

// Never destroyed: threads may still use the engine while the process exits.
Slot& ActiveSlot() {
  static Slot* slot = new Slot;
  return *slot;
}

}  // namespace

std::shared_ptr<Engine> ActiveEngine() {
  Slot& slot = ActiveSlot();
  std::lock_guard<std::mutex> lock(slot.mutex);
  return slot.engine;
}

void SetActiveEngine(std::shared_ptr<Engine> engine,
                     const std::string& reason) {
  Slot& slot = ActiveSlot();
  {
    std::lock_guard<std::mutex> lock(slot.mutex);
    if (slot.engine == engine) return;
    std::swap(slot.engine, engine);
  }
  // Without the lock: callbacks of what waited may ask for the active engine.
  if (engine != nullptr) engine->Shutdown(reason);
}

}  // namespace tf_embed
