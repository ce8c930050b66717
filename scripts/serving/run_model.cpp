// Runs an ONNX model in ONNX Runtime's C interface, with the native library of onnx-fft or without it:
//
//     run_model MODEL SHAPE INPUT OUTPUT [LIBRARY]
//     run_model native.onnx 1x64x56x56 x.bin y.bin libonnx_fft.so
//
// INPUT holds the model's one input, OUTPUT gets its first output: raw float32 numbers, as NumPy's tofile and fromfile
// write and read them. build.sh builds the program.
#include <onnxruntime_c_api.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <limits>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr int kRuns = 10;  // of which the fastest counts

const OrtApi* ort = nullptr;

struct Tensor {
  std::vector<int64_t> shape;
  std::vector<float> values;
};

struct Result {
  Tensor output;
  double fastest_ms;
};

template <typename T>
using Owned = std::unique_ptr<T, void (*)(T*)>;

void check(OrtStatus* status) {
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

std::vector<int64_t> parse_shape(const std::string& text) {
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

std::string describe(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t length : shape) text += (text.empty() ? "" : "x") + std::to_string(length);
  return text;
}

Tensor read_tensor(const std::string& path, const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t length : shape) count *= length;
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const int64_t found = file ? static_cast<int64_t>(file.tellg()) : -1;
  const int64_t expected = count * static_cast<int64_t>(sizeof(float));
  if (found != expected) {
    const std::string problem =
        found < 0 ? "cannot read " + path : "got " + std::to_string(found) + " bytes in " + path;
    throw std::runtime_error(problem + "; expected " + std::to_string(expected) + " bytes, " + describe(shape) +
                             " of float32");
  }
  Tensor tensor{shape, std::vector<float>(static_cast<size_t>(count))};
  file.seekg(0);
  file.read(reinterpret_cast<char*>(tensor.values.data()), expected);
  return tensor;
}

void write_values(const std::string& path, const std::vector<float>& values) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

// All that the library needs: its path in the options, before the session is created.
Owned<OrtSession> open_session(const OrtEnv* env, const char* model, const char* library) {
  const auto options = make(ort->ReleaseSessionOptions, ort->CreateSessionOptions);
  if (library != nullptr) check(ort->RegisterCustomOpsLibrary_V2(options.get(), library));
  return make(ort->ReleaseSession, ort->CreateSession, env, model, options.get());
}

Tensor copy_tensor(OrtValue* value) {
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

Result run(OrtSession* session, Tensor& input) {
  OrtAllocator* allocator = nullptr;  // ONNX Runtime's own
  check(ort->GetAllocatorWithDefaultOptions(&allocator));
  char *input_name = nullptr, *output_name = nullptr;
  check(ort->SessionGetInputName(session, 0, allocator, &input_name));
  check(ort->SessionGetOutputName(session, 0, allocator, &output_name));
  const auto memory = make(ort->ReleaseMemoryInfo, ort->CreateCpuMemoryInfo, OrtArenaAllocator, OrtMemTypeDefault);
  const auto x = make(ort->ReleaseValue, ort->CreateTensorWithDataAsOrtValue, memory.get(), input.values.data(),
                      input.values.size() * sizeof(float), input.shape.data(), input.shape.size(),
                      ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
  Owned<OrtValue> y(nullptr, ort->ReleaseValue);
  double fastest_ms = std::numeric_limits<double>::infinity();
  for (int index = 0; index < kRuns; ++index) {
    const auto start = std::chrono::steady_clock::now();
    const OrtValue* inputs[] = {x.get()};
    OrtValue* output = nullptr;
    check(ort->Run(session, nullptr, &input_name, inputs, 1, &output_name, 1, &output));
    y.reset(output);
    const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - start;
    fastest_ms = std::min(fastest_ms, taken.count());
  }
  check(ort->AllocatorFree(allocator, input_name));
  check(ort->AllocatorFree(allocator, output_name));
  return {copy_tensor(y.get()), fastest_ms};
}

void run_model(const char* model, const char* shape, const char* input_path, const char* output_path,
               const char* library) {
  const std::string version = OrtGetApiBase()->GetVersionString();
  ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (ort == nullptr) throw std::runtime_error("got ONNX Runtime " + version + ", which is older than its header");
  Tensor input = read_tensor(input_path, parse_shape(shape));
  const auto env = make(ort->ReleaseEnv, ort->CreateEnv, ORT_LOGGING_LEVEL_WARNING, "run_model");
  const auto session = open_session(env.get(), model, library);
  const auto [output, fastest_ms] = run(session.get(), input);
  write_values(output_path, output.values);
  std::printf("%s in %.3f ms, by ONNX Runtime %s %s\n", describe(output.shape).c_str(), fastest_ms, version.c_str(),
              library != nullptr ? "with the library" : "alone");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5 && argc != 6) {
    std::fprintf(stderr, "usage: run_model MODEL SHAPE INPUT OUTPUT [LIBRARY]\n");
    return 2;
  }
  try {
    run_model(argv[1], argv[2], argv[3], argv[4], argc == 6 ? argv[5] : nullptr);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "run_model: %s\n", error.what());
    return 1;
  }
  return 0;
}
