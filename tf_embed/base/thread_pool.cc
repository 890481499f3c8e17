#include "tf_embed/base/thread_pool.h"

namespace tf_embed {

ThreadPool::ThreadPool(int num_threads) {
  for (int i = 1; i < num_threads; ++i) {
    workers_.emplace_back([this] { WorkerLoop(); });
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  job_posted_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::ParallelFor(int64_t num_pieces,
                             const std::function<void(int64_t)>& piece) {
  if (workers_.empty() || num_pieces <= 1) {
    for (int64_t i = 0; i < num_pieces; ++i) piece(i);
    return;
  }
  std::lock_guard<std::mutex> turn(turn_);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    piece_ = &piece;
    num_pieces_ = num_pieces;
    next_piece_.store(0, std::memory_order_relaxed);
    busy_workers_ = static_cast<int>(workers_.size());
    ++job_number_;
  }
  job_posted_.notify_all();
  RunPieces(piece, num_pieces);
  std::unique_lock<std::mutex> lock(mutex_);
  workers_idle_.wait(lock, [this] { return busy_workers_ == 0; });
}

void ThreadPool::RunPieces(const std::function<void(int64_t)>& piece,
                           int64_t num_pieces) {
  while (true) {
    const int64_t i = next_piece_.fetch_add(1, std::memory_order_relaxed);
    if (i >= num_pieces) return;
    piece(i);
  }
}

void ThreadPool::WorkerLoop() {
  int64_t jobs_seen = 0;
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    job_posted_.wait(lock,
                     [&] { return stopping_ || job_number_ != jobs_seen; });
    if (stopping_) return;
    jobs_seen = job_number_;
    const std::function<void(int64_t)>& piece = *piece_;
    const int64_t num_pieces = num_pieces_;
    lock.unlock();
    RunPieces(piece, num_pieces);
    lock.lock();
    if (--busy_workers_ == 0) workers_idle_.notify_one();
  }
}

}  // namespace tf_embed
