#ifndef TF_EMBED_TF_EMBED_BASE_STATUS_H_
#define TF_EMBED_TF_EMBED_BASE_STATUS_H_

#include <optional>
#include <sstream>
#include <string>
#include <utility>

namespace tf_embed {

// The values are those of absl::StatusCode, so the op edge converts with a
// cast. The core has a status of its own because Abseil's lives in
// TensorFlow's library, which sanitizer builds of the core must not load.
enum class StatusCode : int {
  kOk = 0,
  kCancelled = 1,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message)
      : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

inline Status OkStatus() { return Status(); }

// The pieces printed one after the other.
template <typename... Pieces>
std::string StrCat(const Pieces&... pieces) {
  std::ostringstream out;
  (out << ... << pieces);
  return out.str();
}

template <typename... Pieces>
Status InvalidArgument(const Pieces&... pieces) {
  return Status(StatusCode::kInvalidArgument, StrCat(pieces...));
}
template <typename... Pieces>
Status FailedPrecondition(const Pieces&... pieces) {
  return Status(StatusCode::kFailedPrecondition, StrCat(pieces...));
}
template <typename... Pieces>
Status NotFound(const Pieces&... pieces) {
  return Status(StatusCode::kNotFound, StrCat(pieces...));
}
template <typename... Pieces>
Status ResourceExhausted(const Pieces&... pieces) {
  return Status(StatusCode::kResourceExhausted, StrCat(pieces...));
}
template <typename... Pieces>
Status Unimplemented(const Pieces&... pieces) {
  return Status(StatusCode::kUnimplemented, StrCat(pieces...));
}
template <typename... Pieces>
Status Cancelled(const Pieces&... pieces) {
  return Status(StatusCode::kCancelled, StrCat(pieces...));
}
template <typename... Pieces>
Status Aborted(const Pieces&... pieces) {
  return Status(StatusCode::kAborted, StrCat(pieces...));
}
template <typename... Pieces>
Status Internal(const Pieces&... pieces) {
  return Status(StatusCode::kInternal, StrCat(pieces...));
}

// A value, or the reason why there is none.
template <typename T>
class [[nodiscard]] StatusOr {
 public:
  StatusOr(Status status) : status_(std::move(status)) {}
  StatusOr(T value) : value_(std::move(value)) {}

  bool ok() const { return status_.ok(); }
  const Status& status() const { return status_; }
  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return *std::move(value_); }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return *std::move(value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  Status status_;
  std::optional<T> value_;
};

}  // namespace tf_embed

#define TF_EMBED_CONCAT_INNER_(a, b) a##b
#define TF_EMBED_CONCAT_(a, b) TF_EMBED_CONCAT_INNER_(a, b)

#define TF_EMBED_RETURN_IF_ERROR(expr)                   \
  do {                                                   \
    ::tf_embed::Status tf_embed_status_ = (expr);        \
    if (!tf_embed_status_.ok()) return tf_embed_status_; \
  } while (false)

#define TF_EMBED_ASSIGN_OR_RETURN(lhs, expr)                                  \
  TF_EMBED_ASSIGN_OR_RETURN_(TF_EMBED_CONCAT_(tf_embed_status_or_, __LINE__), \
                             lhs, expr)
#define TF_EMBED_ASSIGN_OR_RETURN_(var, lhs, expr) \
  auto var = (expr);                               \
  if (!var.ok()) return var.status();              \
  lhs = std::move(var).value()

#endif  // TF_EMBED_TF_EMBED_BASE_STATUS_H_
