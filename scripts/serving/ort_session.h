// What the programs of this folder share: ONNX Runtime's C interface with errors as exceptions, sessions with the
// native library or without it, and raw float32 numbers in files, as NumPy's tofile and fromfile write and read them.
#pragma once

#include <onnxruntime_c_api.h>

#include <cstdint>
#include <exception>
#include <fstream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

inline const OrtApi* ort = nullptr;

struct Tensor {
  std::vector<int64_t> shape;
  std::vector<float> values;
};

template <typename T>
using Owned = std::unique_ptr<T, void (*)(T*)>;

inline void check(OrtStatus* status) {
  if (status == nullptr) return;
  const std::string message = ort->GetErrorMessage(status);
  ort->ReleaseStatus(status);
  throw std::runtime_error(message);
}

// What `function(arguments..., &object)` makes; `release` frees it.
template <typename T, typename Function, typename... Arguments>
Owned<T> make(void (*release)(T*), Function function, Arguments... arguments) {
  T* object = nullptr;
  check(function(arguments..., &object));
  return {object, release};
}

// Sets `ort`; returns the version of ONNX Runtime.
inline std::string find_ort() {
  const std::string version = OrtGetApiBase()->GetVersionString();
  ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (ort == nullptr) throw std::runtime_error("got ONNX Runtime " + version + ", which is older than its header");
  return version;
}

inline std::vector<int64_t> parse_shape(const std::string& text) {
  std::vector<int64_t> shape;
  std::istringstream lengths(text);
  for (std::string length; std::getline(lengths, length, 'x');) {
    try {
      shape.push_back(std::stoll(length));
    } catch (const std::exception&) {
      throw std::runtime_error("got the shape '" + text + "'; expected lengths such as 1x64x56x56");
    }
  }
  return shape;
}

inline std::string describe(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t length : shape) text += (text.empty() ? "" : "x") + std::to_string(length);
  return text;
}

// The tensors of one shape that the file holds one after another, `count` of them.
inline std::vector<Tensor> read_tensors(const std::string& path, const std::vector<int64_t>& shape, size_t count) {
  int64_t length = 1;
  for (const int64_t each : shape) length *= each;
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const int64_t found = file ? static_cast<int64_t>(file.tellg()) : -1;
  const int64_t bytes = length * static_cast<int64_t>(sizeof(float));
  const int64_t expected = bytes * static_cast<int64_t>(count);
  if (found != expected) {
    const std::string problem =
        found < 0 ? "cannot read " + path : "got " + std::to_string(found) + " bytes in " + path;
    const std::string times = count == 1 ? "" : std::to_string(count) + " times ";
    throw std::runtime_error(problem + "; expected " + std::to_string(expected) + " bytes, " + times + describe(shape) +
                             " of float32");
  }
  file.seekg(0);
  std::vector<Tensor> tensors(count, {shape, std::vector<float>(static_cast<size_t>(length))});
  for (Tensor& tensor : tensors) file.read(reinterpret_cast<char*>(tensor.values.data()), bytes);
  return tensors;
}

inline void write_values(const std::string& path, const std::vector<float>& values) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

// All that the library needs: its path in the options, before the session is created. `threads` for each run; 0 leaves
// their number to ONNX Runtime.
inline Owned<OrtSession> open_session(const OrtEnv* env, const char* model, const char* library, int threads) {
  const auto options = make(ort->ReleaseSessionOptions, ort->CreateSessionOptions);
  check(ort->SetIntraOpNumThreads(options.get(), threads));
  if (library != nullptr) check(ort->RegisterCustomOpsLibrary_V2(options.get(), library));
  return make(ort->ReleaseSession, ort->CreateSession, env, model, options.get());
}

// The model's one input and its first output.
struct Names {
  std::string input, output;
};

inline Names read_names(OrtSession* session) {
  OrtAllocator* allocator = nullptr;  // ONNX Runtime's own
  check(ort->GetAllocatorWithDefaultOptions(&allocator));
  char *input = nullptr, *output = nullptr;
  check(ort->SessionGetInputName(session, 0, allocator, &input));
  check(ort->SessionGetOutputName(session, 0, allocator, &output));
  const Names names{input, output};
  check(ort->AllocatorFree(allocator, input));
  check(ort->AllocatorFree(allocator, output));
  return names;
}

// The tensor as ONNX Runtime sees it: it reads the numbers where they are.
inline Owned<OrtValue> wrap_tensor(Tensor& tensor) {
  const auto memory = make(ort->ReleaseMemoryInfo, ort->CreateCpuMemoryInfo, OrtArenaAllocator, OrtMemTypeDefault);
  return make(ort->ReleaseValue, ort->CreateTensorWithDataAsOrtValue, memory.get(),
              static_cast<void*>(tensor.values.data()), tensor.values.size() * sizeof(float), tensor.shape.data(),
              tensor.shape.size(), ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
}

inline Owned<OrtValue> run_once(OrtSession* session, const Names& names, const OrtValue* x) {
  const char* input = names.input.c_str();
  const char* output = names.output.c_str();
  OrtValue* y = nullptr;
  check(ort->Run(session, nullptr, &input, &x, 1, &output, 1, &y));
  return {y, ort->ReleaseValue};
}

inline Tensor copy_tensor(OrtValue* value) {
  const auto info = make(ort->ReleaseTensorTypeAndShapeInfo, ort->GetTensorTypeAndShape, value);
  ONNXTensorElementDataType type;
  check(ort->GetTensorElementType(info.get(), &type));
  if (type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) {
    throw std::runtime_error("got an output of type " + std::to_string(type) + "; expected float32, which is type 1");
  }
  size_t rank = 0;
  check(ort->GetDimensionsCount(info.get(), &rank));
  Tensor tensor{std::vector<int64_t>(rank), {}};
  check(ort->GetDimensions(info.get(), tensor.shape.data(), rank));
  size_t count = 1;
  for (const int64_t length : tensor.shape) count *= static_cast<size_t>(length);
  void* data = nullptr;
  check(ort->GetTensorMutableData(value, &data));
  tensor.values.assign(static_cast<float*>(data), static_cast<float*>(data) + count);
  return tensor;
}
