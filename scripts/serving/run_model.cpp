// Runs an ONNX model in ONNX Runtime's C interface, with the native library of onnx-fft or without it:
//
//     run_model MODEL SHAPE INPUT OUTPUT [LIBRARY]
//     run_model native.onnx 1x64x56x56 x.bin y.bin libonnx_fft.so
//
// INPUT holds the model's one input, OUTPUT gets its first output: raw float32 numbers, as NumPy's tofile and fromfile
// write and read them. build.sh builds the program.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <limits>
#include <string>

#include "ort_session.h"

namespace {

constexpr int kRuns = 10;  // of which the fastest counts

struct Result {
  Tensor output;
  double fastest_ms;
};

Result run(OrtSession* session, Tensor& input) {
  const Names names = read_names(session);
  const auto x = wrap_tensor(input);
  Owned<OrtValue> y(nullptr, ort->ReleaseValue);
  double fastest_ms = std::numeric_limits<double>::infinity();
  for (int index = 0; index < kRuns; ++index) {
    const auto start = std::chrono::steady_clock::now();
    y = run_once(session, names, x.get());
    const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - start;
    fastest_ms = std::min(fastest_ms, taken.count());
  }
  return {copy_tensor(y.get()), fastest_ms};
}

void run_model(const char* model, const char* shape, const char* input_path, const char* output_path,
               const char* library) {
  const std::string version = find_ort();
  Tensor input = read_tensors(input_path, parse_shape(shape), 1).front();
  const auto env = make(ort->ReleaseEnv, ort->CreateEnv, ORT_LOGGING_LEVEL_WARNING, "run_model");
  const auto session = open_session(env.get(), model, library, 0);
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
