// ORT's C interface with errors as exceptions, and exceptions as its errors.
#pragma once

#include <cstdint>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/executor.h"
#include "ops/abi.h"

namespace onnx_fft::ort {

using Shape = std::vector<int64_t>;

// What ORT said, with its code.
class Error : public std::runtime_error {
 public:
  Error(OrtErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  OrtErrorCode code() const { return code_; }

 private:
  OrtErrorCode code_;
};

// Throws Error unless `status` is nullptr, and releases it.
void check(const OrtApi& api, OrtStatus* status);

// As `check`, but returns whether it was nullptr instead of throwing.
bool succeeded(const OrtApi& api, OrtStatus* status);

// Runs `function`; what it throws is returned as a status whose message begins with `where`. No exception may
// reach ORT, whose interface is C.
template <typename Function>
OrtStatus* guard(const OrtApi& api, const std::string& where, Function&& function) noexcept {
  const auto fail = [&](OrtErrorCode code, const char* what) {
    try {
      return create_status(api, code, (where + ": " + what).c_str());
    } catch (...) {
      return create_status(api, code, "out of memory");
    }
  };
  try {
    function();
    return nullptr;
  } catch (const Error& error) {
    return fail(error.code(), error.what());
  } catch (const std::invalid_argument& error) {
    return fail(kOrtInvalidArgument, error.what());
  } catch (const std::bad_alloc&) {
    return fail(kOrtRuntimeException, "out of memory");
  } catch (const std::exception& error) {
    return fail(kOrtRuntimeException, error.what());
  } catch (...) {
    return fail(kOrtFail, "an unknown error");
  }
}

// "2x3x4"; "a scalar" if there are no dimensions, and "?" for an open one.
std::string describe(const Shape& shape);

// Whether all lengths are known and positive, and such a tensor can be: a model may state any.
bool is_fixed(const Shape& shape);

Shape dimensions(const OrtApi& api, const OrtTensorTypeAndShapeInfo* info);
Shape tensor_shape(const OrtApi& api, const OrtValue* value);
void* tensor_data(const OrtApi& api, const OrtValue* value);

// A node's attributes and inputs, while its kernel is created. An attribute that is missing or of another type throws
// std::invalid_argument.
class NodeInfo {
 public:
  NodeInfo(const OrtApi& api, const OrtKernelInfo* info) : api_(api), info_(info) {}

  std::string name() const;
  int64_t integer(const char* attribute) const;
  std::vector<int64_t> integers(const char* attribute) const;
  float real(const char* attribute) const;
  std::string text(const char* attribute) const;
  size_t input_count() const;
  // Open dimensions are -1; nothing if not even their number is known.
  std::optional<Shape> input_shape(size_t index) const;
  // nullptr if the input is computed at run time.
  const OrtValue* constant_input(size_t index) const;

 private:
  void require(OrtStatus* status, const char* type, const char* attribute) const;

  const OrtApi& api_;
  const OrtKernelInfo* info_;
};

// The session's threads, during one call of a kernel.
struct Pool {
  const OrtApi& api;
  const OrtKernelContext* context;
  Executor executor() { return {this, &Pool::parallel_for}; }

 private:
  static void parallel_for(void* state, void (*task)(void*, size_t), size_t count, void* data);
};

}  // namespace onnx_fft::ort
