// Scratch for many tasks, by thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>
#include <vector>

#include "engine/scratch.h"

namespace onnx_fft {

// Scratch of the same size for each task of one stage: a thread leases a block with its first task and finds it again,
// warm, with the next one. All go back to the pool at the end of the stage.
class TaskScratch {
  struct alignas(64) Slot {
    std::atomic<bool> busy{false};
    Block block;
  };

 public:
  TaskScratch(ScratchPool& pool, size_t bytes) : pool_(pool), bytes_(bytes), slots_(slot_count()) {}
  ~TaskScratch() {
    for (Slot& slot : slots_) {
      if (slot.block.memory != nullptr) pool_.give_back(std::move(slot.block));
    }
  }
  TaskScratch(const TaskScratch&) = delete;
  TaskScratch& operator=(const TaskScratch&) = delete;

  // A thread's block for the length of one task, with whatever the last task wrote to it.
  class Use {
   public:
    explicit Use(TaskScratch& scratch) : slot_(scratch.acquire()) {
      if (slot_.block.memory != nullptr) return;
      try {
        slot_.block = scratch.pool_.take(scratch.bytes_);
      } catch (...) {
        slot_.busy.store(false, std::memory_order_release);
        throw;
      }
    }
    ~Use() { slot_.busy.store(false, std::memory_order_release); }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

    template <typename Real>
    Real* as() const {
      return static_cast<Real*>(slot_.block.memory.get());
    }

   private:
    Slot& slot_;
  };

 private:
  // Usually as many threads as there are cores work; if there are ever more than slots, some wait.
  static size_t slot_count() {
    static const size_t count = 2 * std::max(1u, std::thread::hardware_concurrency());
    return count;
  }

  static size_t thread_number() {
    static std::atomic<size_t> next{0};
    static thread_local const size_t number = next++;
    return number;
  }

  Slot& acquire() {
    for (size_t i = thread_number();; ++i) {
      Slot& slot = slots_[i % slots_.size()];
      if (!slot.busy.exchange(true, std::memory_order_acquire)) return slot;
      if (i % slots_.size() == 0) std::this_thread::yield();
    }
  }

  ScratchPool& pool_;
  const size_t bytes_;
  std::vector<Slot> slots_;
};

}  // namespace onnx_fft
