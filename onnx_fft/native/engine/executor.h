// Tasks on threads that belong to someone else.
#pragma once

#include <cstddef>
#include <cstdint>

namespace onnx_fft {

// Whose threads to use: calls `task(data, index)` for every index below `count`, in any order, from any thread.
struct Executor {
  void* state;
  void (*parallel_for)(void* state, void (*task)(void* data, size_t index), size_t count, void* data);
};

// Runs every task on the calling thread.
inline Executor serial_executor() {
  return {nullptr, [](void*, void (*task)(void*, size_t), size_t count, void* data) {
            for (size_t i = 0; i < count; ++i) task(data, i);
          }};
}

// Runs `body(index)` for every index below `count`.
template <typename Body>
inline void each(const Executor& executor, int64_t count, const Body& body) {
  executor.parallel_for(
      executor.state, [](void* data, size_t index) { (*static_cast<const Body*>(data))(static_cast<int64_t>(index)); },
      static_cast<size_t>(count), const_cast<Body*>(&body));
}

}  // namespace onnx_fft
