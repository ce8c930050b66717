// One object for all of the process that use it, made for the first of them and gone with the last.
#pragma once

#include <memory>
#include <mutex>

namespace onnx_fft {

template <typename T>
std::shared_ptr<T> share() {
  static std::mutex mutex;
  static std::weak_ptr<T> existing;
  const std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<T> found = existing.lock();
  if (found == nullptr) existing = found = std::make_shared<T>();
  return found;
}

}  // namespace onnx_fft
