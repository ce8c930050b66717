#include "engine/threads.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace onnx_fft {
namespace {

constexpr size_t kMostThreads = 8;

// Tasks that threads take one after the other, and the first error of any.
class Queue {
 public:
  Queue(void (*task)(void*, size_t), size_t count, void* data) : task_(task), count_(count), data_(data) {}

  void work() {
    try {
      for (size_t i = next_++; i < count_; i = next_++) task_(data_, i);
    } catch (...) {
      next_ = count_;
      const std::lock_guard<std::mutex> lock(mutex_);
      error_ = std::current_exception();
    }
  }

  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void (*task_)(void*, size_t);
  size_t count_;
  void* data_;
  std::atomic<size_t> next_{0};
  std::mutex mutex_;
  std::exception_ptr error_;
};

void run_on_own_threads(void*, void (*task)(void*, size_t), size_t count, void* data) {
  Queue queue(task, count, data);
  std::vector<std::thread> others;
  const size_t threads = std::min({kMostThreads, count, size_t{std::thread::hardware_concurrency()}});
  try {
    for (size_t i = 1; i < threads; ++i) others.emplace_back(&Queue::work, &queue);
  } catch (const std::system_error&) {
    // Those that there are do all of it.
  }
  queue.work();
  for (std::thread& other : others) other.join();
  queue.rethrow();
}

}  // namespace

Executor own_threads() { return {nullptr, &run_on_own_threads}; }

}  // namespace onnx_fft
