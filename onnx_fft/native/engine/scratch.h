// Scratch memory that is kept for the next call: the fresh pages of a large block cost more than the transforms in it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "engine/shared.h"

namespace onnx_fft {

// By operator new, since Windows has no std::aligned_alloc.
constexpr std::align_val_t kBlockAlignment{64};

struct FreeBlock {
  size_t mapped = 0;  // bytes; 0 if operator new has it

  void operator()(void* p) const {
#if defined(__linux__)
    if (mapped > 0) {
      munmap(p, mapped);
      return;
    }
#endif
    ::operator delete(p, kBlockAlignment);
  }
};

struct Block {
  std::unique_ptr<void, FreeBlock> memory;
  size_t bytes = 0;
};

// Large blocks do not come from malloc, whose heap blocks of ever other sizes would tear to pieces, and may have huge
// pages.
inline Block allocate_block(size_t bytes) {
#if defined(__linux__)
  constexpr size_t kLarge = 1 << 20, kPage = 4096;
  if (bytes >= kLarge) {
    const size_t rounded = (bytes + kPage - 1) / kPage * kPage;
    void* const p = mmap(nullptr, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    madvise(p, rounded, MADV_HUGEPAGE);
    return {std::unique_ptr<void, FreeBlock>(p, {rounded}), rounded};
  }
#endif
  return {std::unique_ptr<void, FreeBlock>(::operator new(bytes, kBlockAlignment)), bytes};
}

// All convolutions of the process share one pool. It holds no more than was ever in use at once, and a few MiB, and
// goes with the last of them.
class ScratchPool {
 public:
  static std::shared_ptr<ScratchPool> shared() { return share<ScratchPool>(); }

  // A block with whatever its last user wrote to it.
  Block take(size_t bytes) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      const size_t limit = std::max(most_used_, used_ + bytes) + kSpareBytes;
      const size_t found = find(bytes, used_ + free_bytes_ + bytes > limit);
      if (found < free_.size()) return lend(found);
      while (!free_.empty() && used_ + free_bytes_ + bytes > limit) {
        free_bytes_ -= free_.front().bytes;
        free_.erase(free_.begin());
      }
    }
    Block block = allocate_block(bytes);
    const std::lock_guard<std::mutex> lock(mutex_);
    count_use(block.bytes);
    return block;
  }

  void give_back(Block block) {
    const std::lock_guard<std::mutex> lock(mutex_);
    used_ -= block.bytes;
    free_bytes_ += block.bytes;
    free_.push_back(std::move(block));
  }

  // Of all blocks, in use or free.
  size_t held_bytes() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return used_ + free_bytes_;
  }

  // A block on loan.
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
  static constexpr size_t kSpareBytes = 8 << 20;

  // The smallest free block that is large enough; one that is far too large only if `any` will do.
  size_t find(size_t bytes, bool any) const {
    size_t best = free_.size();
    for (size_t i = 0; i < free_.size(); ++i) {
      if (free_[i].bytes < bytes || (!any && free_[i].bytes > 4 * bytes + (1 << 20))) continue;
      if (best == free_.size() || free_[i].bytes < free_[best].bytes) best = i;
    }
    return best;
  }

  Block lend(size_t position) {
    Block block = std::move(free_[position]);
    free_.erase(free_.begin() + static_cast<std::ptrdiff_t>(position));
    free_bytes_ -= block.bytes;
    count_use(block.bytes);
    return block;
  }

  void count_use(size_t bytes) {
    used_ += bytes;
    most_used_ = std::max(most_used_, used_);
  }

  mutable std::mutex mutex_;
  std::vector<Block> free_;  // the one that was given back first comes first
  size_t used_ = 0, free_bytes_ = 0, most_used_ = 0;
};

}  // namespace onnx_fft
