// The spectra of constant weights, kept from run to run.
#pragma once

#include <array>
#include <memory>
#include <mutex>

#include "engine/lru.h"
#include "engine/scratch.h"
#include "planner/dense_plan.h"
#include "planner/plan.h"

namespace onnx_fft {

// Spectra of the weights for one tile; reals of the computing type.
using Spectra = std::shared_ptr<const Block>;

// What spectra depend on: lengths, split dilations, lanes or the form of a dense plan, direct or not.
using SpectraKey = std::array<int64_t, 2 * kMaxRank + 2>;

inline SpectraKey spectra_key(const ConvPlan& plan) {
  SpectraKey key{};
  key.back() = plan.direct;
  if (plan.direct) return key;
  const AxisPlan* axes = plan.dense ? plan.dense->axes : plan.axes;
  for (int axis = 0; axis < kMaxRank; ++axis) {
    key[static_cast<size_t>(axis)] = axes[axis].length;
    key[static_cast<size_t>(kMaxRank + axis)] = axes[axis].split_dilation;
  }
  key[2 * kMaxRank] = plan.dense ? 2 + static_cast<int64_t>(plan.dense->form) : static_cast<int64_t>(plan.lanes);
  return key;
}

// Of several threads that need the same spectra, one makes them and the others wait; those that need others do not.
class SpectraCache {
 public:
  explicit SpectraCache(size_t most) : slots_(most) {}

  // `make` may throw: the next thread then tries again.
  template <typename Make>
  Spectra get(const SpectraKey& key, const Make& make) {
    const std::shared_ptr<Slot> slot = slot_for(key);
    const std::lock_guard<std::mutex> lock(slot->mutex);
    if (slot->spectra == nullptr) slot->spectra = make();
    return slot->spectra;
  }

 private:
  struct Slot {
    std::mutex mutex;
    Spectra spectra;
  };

  std::shared_ptr<Slot> slot_for(const SpectraKey& key) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto* found = slots_.find(key);
    return found != nullptr ? *found : slots_.insert(key, std::make_shared<Slot>());
  }

  std::mutex mutex_;
  LruCache<SpectraKey, std::shared_ptr<Slot>> slots_;
};

}  // namespace onnx_fft
