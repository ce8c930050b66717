// The executor of the test drivers.
#pragma once

#include <cstddef>
#include <thread>
#include <vector>

// Tasks in turn on as many threads as `state` says.
inline void run_on_threads(void* state, void (*task)(void*, size_t), size_t tasks, void* data) {
  const size_t threads = *static_cast<const size_t*>(state);
  const auto share = [&](size_t first) {
    for (size_t i = first; i < tasks; i += threads) task(data, i);
  };
  std::vector<std::thread> others;
  for (size_t thread = 1; thread < threads; ++thread) others.emplace_back(share, thread);
  share(0);
  for (std::thread& other : others) other.join();
}
