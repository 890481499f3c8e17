#ifndef TF_EMBED_TF_EMBED_BASE_OBJECT_POOL_H_
#define TF_EMBED_TF_EMBED_BASE_OBJECT_POOL_H_

#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace tf_embed {

// Lends out objects that keep their memory from one use to the next: fresh
// memory costs a page fault every 4 KB. As many live as are lent at a time.
// An object comes back as it was left. Thread-safe.
template <typename T>
class ObjectPool {
 private:
  struct Shared {
    explicit Shared(size_t most) : max_free(most) {}

    const size_t max_free;
    std::mutex mutex;
    std::vector<std::unique_ptr<T>> free;
  };

  struct Return {
    std::shared_ptr<Shared> shared;

    void operator()(T* object) const {
      std::unique_ptr<T> owned(object);
      std::lock_guard<std::mutex> lock(shared->mutex);
      if (shared->free.size() < shared->max_free) {
        shared->free.push_back(std::move(owned));
      }
    }
  };

 public:
  // Goes back to the pool when it is destroyed, also after the pool.
  using Lease = std::unique_ptr<T, Return>;

  // max_free: how many objects that nobody uses are kept.
  explicit ObjectPool(size_t max_free = static_cast<size_t>(-1))
      : shared_(std::make_shared<Shared>(max_free)) {}

  Lease Take() {
    std::unique_ptr<T> object;
    {
      std::lock_guard<std::mutex> lock(shared_->mutex);
      if (!shared_->free.empty()) {
        object = std::move(shared_->free.back());
        shared_->free.pop_back();
      }
    }
    if (object == nullptr) object = std::make_unique<T>();
    return Lease(object.release(), Return{shared_});
  }

 private:
  const std::shared_ptr<Shared> shared_;
};

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_BASE_OBJECT_POOL_H_
