// What the library keeps from run to run, for tests/native/test_caches.py: prints what is wrong, and exits with 1 if
// anything is.
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#include "engine/lru.h"
#include "engine/scratch.h"
#include "engine/spectra.h"
#include "engine/task_scratch.h"
#include "engine/threads.h"

namespace {

using namespace onnx_fft;

int failures = 0;

void expect(bool is_right, const char* what) {
  if (is_right) return;
  std::printf("wrong: %s\n", what);
  ++failures;
}

Spectra make_block(size_t bytes) { return std::make_shared<const Block>(allocate_block(bytes)); }

void try_lru() {
  LruCache<int, int> cache(3);
  for (int key : {1, 2, 3}) cache.insert(key, 10 * key);
  expect(cache.find(1) != nullptr && *cache.find(1) == 10, "a value is found");
  cache.insert(4, 40);
  expect(cache.find(2) == nullptr, "what was not asked for the longest goes");
  expect(cache.find(1) != nullptr && cache.find(3) != nullptr && cache.find(4) != nullptr, "the others stay");
}

void try_spectra_once() {
  SpectraCache cache(2);
  std::atomic<int> made{0};
  std::vector<std::thread> threads;
  std::vector<Spectra> found(4);
  for (Spectra& mine : found) {
    threads.emplace_back([&] {
      mine = cache.get({1}, [&] {
        ++made;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        return make_block(64);
      });
    });
  }
  for (std::thread& thread : threads) thread.join();
  expect(made == 1, "threads that need the same spectra make them once");
  for (const Spectra& mine : found) expect(mine == found[0], "all get the same");
}

// The first thread waits, while it makes its spectra, for the second to have made others: a deadlock if that waits.
void try_other_spectra_meanwhile() {
  SpectraCache cache(2);
  std::mutex mutex;
  std::condition_variable changed;
  bool begun = false, other_made = false;
  std::thread first([&] {
    cache.get({1}, [&] {
      std::unique_lock<std::mutex> lock(mutex);
      begun = true;
      changed.notify_all();
      const bool in_time = changed.wait_for(lock, std::chrono::seconds(60), [&] { return other_made; });
      expect(in_time, "who needs other spectra does not wait");
      return make_block(64);
    });
  });
  {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return begun; });
  }
  cache.get({2}, [&] { return make_block(64); });
  {
    const std::lock_guard<std::mutex> lock(mutex);
    other_made = true;
  }
  changed.notify_all();
  first.join();
}

void try_spectra_again() {
  SpectraCache cache(2);
  bool failed = false;
  try {
    cache.get({1}, []() -> Spectra { throw std::bad_alloc(); });
  } catch (const std::bad_alloc&) {
    failed = true;
  }
  expect(failed, "who makes the spectra sees the error");
  expect(cache.get({1}, [] { return make_block(64); }) != nullptr, "the next one tries again");
  std::weak_ptr<const Block> first = cache.get({1}, [] { return make_block(64); });
  for (int64_t key : {2, 3}) cache.get({key}, [] { return make_block(64); });
  expect(first.expired(), "spectra that are dropped are freed");
}

void try_tasks() {
  ScratchPool pool;
  TaskScratch scratch(pool, 100);
  const void* first = nullptr;
  for (int task = 0; task < 3; ++task) {
    const TaskScratch::Use use(scratch);
    if (first == nullptr) first = use.as<char>();
    expect(use.as<char>() == first, "a thread finds its block again");
    std::thread([&] {
      const TaskScratch::Use other(scratch);
      expect(other.as<char>() != first, "another thread has another block");
    }).join();
  }
}

void try_pool() {
  ScratchPool pool;
  const void* large = nullptr;
  {
    const ScratchPool::Lease lease(pool, 100 << 20);
    large = lease.as<char>();
  }
  {
    // More than a quarter as large would be new memory beside the large block: it is used instead.
    const ScratchPool::Lease lease(pool, 10 << 20);
    expect(lease.as<char>() == large, "memory that is free is used before more is taken");
  }
  for (size_t bytes = 101; bytes < 110; ++bytes) {
    const ScratchPool::Lease lease(pool, bytes << 20);
    expect(pool.held_bytes() <= (110u << 20) + (8u << 20), "no more is held than was in use at once");
  }
}

void try_threads() {
  std::atomic<int64_t> sum{0};
  each(own_threads(), 1000, [&](int64_t index) { sum += index; });
  expect(sum == 499500, "every task runs once");
  bool failed = false;
  try {
    each(own_threads(), 100, [&](int64_t index) {
      if (index == 50) throw std::runtime_error("task");
    });
  } catch (const std::runtime_error&) {
    failed = true;
  }
  expect(failed, "the caller sees a task's error");
}

}  // namespace

int main() {
  try_lru();
  try_spectra_once();
  try_other_spectra_meanwhile();
  try_spectra_again();
  try_tasks();
  try_pool();
  try_threads();
  return failures > 0;
}
