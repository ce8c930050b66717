#include "ops/ort.h"

#include <cmath>
#include <exception>
#include <memory>
#include <mutex>

namespace onnx_fft::ort {
namespace {

// No exception may reach ORT's threads: the first one is kept, and thrown on the thread that started them.
struct Guarded {
  void (*task)(void*, size_t);
  void* data;
  std::mutex mutex;
  std::exception_ptr error;

  static void run(void* self, size_t index) {
    auto& guarded = *static_cast<Guarded*>(self);
    try {
      guarded.task(guarded.data, index);
    } catch (...) {
      const std::lock_guard lock(guarded.mutex);
      if (!guarded.error) guarded.error = std::current_exception();
    }
  }
};

}  // namespace

void check(const OrtApi& api, OrtStatus* status) {
  if (status == nullptr) return;
  const OrtErrorCode code = get_error_code(api, status);
  const std::string message = get_error_message(api, status);
  release_status(api, status);
  throw Error(code, message);
}

bool succeeded(const OrtApi& api, OrtStatus* status) {
  if (status == nullptr) return true;
  release_status(api, status);
  return false;
}

std::string describe(const Shape& shape) {
  if (shape.empty()) return "a scalar";
  std::string text;
  for (const int64_t length : shape) text += (text.empty() ? "" : "x") + (length < 0 ? "?" : std::to_string(length));
  return text;
}

bool is_fixed(const Shape& shape) {
  constexpr double kMostElements = double(int64_t{1} << 48);
  double elements = 1;
  for (const int64_t length : shape) elements *= length > 0 ? double(length) : INFINITY;
  return elements <= kMostElements;
}

Shape dimensions(const OrtApi& api, const OrtTensorTypeAndShapeInfo* info) {
  size_t count = 0;
  check(api, get_dimensions_count(api, info, &count));
  Shape shape(count);
  check(api, get_dimensions(api, info, shape.data(), count));
  return shape;
}

Shape tensor_shape(const OrtApi& api, const OrtValue* value) {
  OrtTensorTypeAndShapeInfo* info = nullptr;
  check(api, get_tensor_type_and_shape(api, value, &info));
  const auto release = [&](OrtTensorTypeAndShapeInfo* held) { release_tensor_type_and_shape_info(api, held); };
  const std::unique_ptr<OrtTensorTypeAndShapeInfo, decltype(release)> owner(info, release);
  return dimensions(api, info);
}

void* tensor_data(const OrtApi& api, const OrtValue* value) {
  void* data = nullptr;
  check(api, get_tensor_mutable_data(api, const_cast<OrtValue*>(value), &data));
  return data;
}

std::string NodeInfo::name() const {
  size_t size = 0;
  if (!succeeded(api_, kernel_info_get_node_name(api_, info_, nullptr, &size)) || size < 1) return "";
  std::string name(size, '\0');
  check(api_, kernel_info_get_node_name(api_, info_, name.data(), &size));
  name.resize(size - 1);  // ORT counts the 0 at the end
  return name;
}

int64_t NodeInfo::integer(const char* attribute) const {
  int64_t value = 0;
  require(kernel_info_get_attribute_int64(api_, info_, attribute, &value), "an integer", attribute);
  return value;
}

std::vector<int64_t> NodeInfo::integers(const char* attribute) const {
  size_t count = 0;
  require(kernel_info_get_attribute_array_int64(api_, info_, attribute, nullptr, &count), "a list of integers",
          attribute);
  std::vector<int64_t> values(count);
  if (count > 0) check(api_, kernel_info_get_attribute_array_int64(api_, info_, attribute, values.data(), &count));
  return values;
}

float NodeInfo::real(const char* attribute) const {
  float value = 0;
  require(kernel_info_get_attribute_float(api_, info_, attribute, &value), "a float", attribute);
  return value;
}

std::string NodeInfo::text(const char* attribute) const {
  size_t size = 0;
  require(kernel_info_get_attribute_string(api_, info_, attribute, nullptr, &size), "a string", attribute);
  std::string value(size, '\0');
  check(api_, kernel_info_get_attribute_string(api_, info_, attribute, value.data(), &size));
  return value.c_str();  // without the 0 at the end, which ORT counts
}

void NodeInfo::require(OrtStatus* status, const char* type, const char* attribute) const {
  try {
    check(api_, status);
  } catch (const Error& error) {
    throw std::invalid_argument(std::string("got no attribute '") + attribute + "' (" + error.what() + "); expected " +
                                type);
  }
}

size_t NodeInfo::input_count() const {
  size_t count = 0;
  check(api_, kernel_info_get_input_count(api_, info_, &count));
  return count;
}

std::optional<Shape> NodeInfo::input_shape(size_t index) const {
  OrtTypeInfo* type = nullptr;
  if (!succeeded(api_, kernel_info_get_input_type_info(api_, info_, index, &type))) return std::nullopt;
  const auto release = [&](OrtTypeInfo* held) { release_type_info(api_, held); };
  const std::unique_ptr<OrtTypeInfo, decltype(release)> owner(type, release);
  const OrtTensorTypeAndShapeInfo* tensor = nullptr;
  check(api_, cast_type_info_to_tensor_info(api_, type, &tensor));
  if (tensor == nullptr) return std::nullopt;
  Shape shape = dimensions(api_, tensor);
  if (shape.empty())
    return std::nullopt;  // an unknown number of dimensions looks like a scalar, which our inputs never are
  return shape;
}

const OrtValue* NodeInfo::constant_input(size_t index) const {
  int is_constant = 0;
  const OrtValue* value = nullptr;
  check(api_, kernel_info_get_constant_input_tensor(api_, info_, index, &is_constant, &value));
  return is_constant ? value : nullptr;
}

void Pool::parallel_for(void* state, void (*task)(void*, size_t), size_t count, void* data) {
  auto& pool = *static_cast<Pool*>(state);
  Guarded guarded{task, data, {}, nullptr};
  check(pool.api, kernel_context_parallel_for(pool.api, pool.context, &Guarded::run, count, 0, &guarded));
  if (guarded.error) std::rethrow_exception(guarded.error);
}

}  // namespace onnx_fft::ort
