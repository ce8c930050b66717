// Scratch memory that is kept for the next call: the fresh pages of a large block cost more than the transforms in it.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

namespace onnx_fft {

// By operator new, since Windows has no std::aligned_alloc.
constexpr std::align_val_t kBlockAlignment{64};

struct FreeAligned {
  void operator()(void* p) const { ::operator delete(p, kBlockAlignment); }
};

struct Block {
  std::unique_ptr<void, FreeAligned> memory;
  size_t bytes = 0;
};

inline Block allocate_block(size_t bytes) {
  return {std::unique_ptr<void, FreeAligned>(::operator new(bytes, kBlockAlignment)), bytes};
}

// All convolutions of the process share one pool, so that there are only as many blocks as are in use at once. It goes
// with the last of them.
class ScratchPool {
 public:
  static std::shared_ptr<ScratchPool> shared() {
    static std::mutex mutex;
    static std::weak_ptr<ScratchPool> existing;
    const std::lock_guard<std::mutex> lock(mutex);
    std::shared_ptr<ScratchPool> pool = existing.lock();
    if (pool == nullptr) existing = pool = std::make_shared<ScratchPool>();
    return pool;
  }

  // A block on loan, with whatever its last user wrote to it.
  class Lease {
   public:
    Lease(ScratchPool& pool, size_t bytes) : pool_(pool), block_(pool.take(bytes)) {}
    ~Lease() { pool_.give_back(std::move(block_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    template <typename Real>
    Real* as() const {
      return static_cast<Real*>(block_.memory.get());
    }

   private:
    ScratchPool& pool_;
    Block block_;
  };

 private:
  // The smallest free block that is large enough.
  Block take(size_t bytes) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      size_t best = free_.size();
      for (size_t i = 0; i < free_.size(); ++i) {
        if (free_[i].bytes >= bytes && (best == free_.size() || free_[i].bytes < free_[best].bytes)) best = i;
      }
      if (best < free_.size() && free_[best].bytes <= 4 * bytes + (1 << 20)) {
        Block block = std::move(free_[best]);
        free_[best] = std::move(free_.back());
        free_.pop_back();
        return block;
      }
    }
    return allocate_block(bytes);
  }

  void give_back(Block block) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(block));
    // A model's many tile sizes must not pile up: the oldest block makes room.
    constexpr size_t kMostBlocks = 64;
    if (free_.size() > kMostBlocks) free_.erase(free_.begin());
  }

  std::mutex mutex_;
  std::vector<Block> free_;
};

}  // namespace onnx_fft
