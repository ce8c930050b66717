// Loads onnxruntime.dll and onnx_fft.dll and runs a model in them, which no other library can compute:
//
//     try_dll.exe onnxruntime.dll onnx_fft.dll model.onnx 1x64x56x56 x.bin y.bin
//
// x.bin holds the input, y.bin the output that is expected, as raw float32 numbers. Ends with 0 if the two agree.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

typedef struct Status Status;
typedef void (*Function)(void);
// The functions of ONNX Runtime's C interface by their places, which are the same in every version; 17 is that of 1.17.
typedef struct {
  const Function* (*get_api)(uint32_t version);
  const char* (*get_version_string)(void);
} ApiBase;
enum { kApiVersion = 17, kWarning = 2, kArena = 1, kFloat = 1, kMaxRank = 8 };
#define CALL(slot, ...) check(((Status * (*)()) api[slot])(__VA_ARGS__))

static const Function* api;

static void stop(const char* what, const char* why) {
  fprintf(stderr, "try_dll: %s: %s\n", what, why);
  exit(1);
}

static void check(Status* status) {
  if (status != NULL) stop("ONNX Runtime", ((const char* (*)(const Status*))api[2])(status));
}

static float* read_numbers(const char* path, size_t* count) {
  FILE* file = fopen(path, "rb");
  if (file == NULL) stop(path, "cannot be read");
  fseek(file, 0, SEEK_END);
  *count = (size_t)ftell(file) / sizeof(float);
  rewind(file);
  float* numbers = malloc(*count * sizeof(float));
  if (numbers == NULL || fread(numbers, sizeof(float), *count, file) != *count) stop(path, "cannot be read");
  fclose(file);
  return numbers;
}

static size_t parse_shape(char* text, int64_t* shape) {
  size_t rank = 0;
  for (char* at = text; rank < kMaxRank; ++at) {
    shape[rank++] = strtoll(at, &at, 10);
    if (*at == '\0') break;
  }
  return rank;
}

static double relative_error(const float* got, const float* expected, size_t count) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < count; ++i) {
    error += ((double)got[i] - expected[i]) * ((double)got[i] - expected[i]);
    norm += (double)expected[i] * expected[i];
  }
  return sqrt(error / norm);
}

int wmain(int argc, wchar_t** wide) {
  if (argc != 7) stop("usage", "try_dll ONNXRUNTIME LIBRARY MODEL SHAPE INPUT OUTPUT");
  char shape_text[64], input_path[MAX_PATH], output_path[MAX_PATH];
  wcstombs(shape_text, wide[4], sizeof shape_text);
  wcstombs(input_path, wide[5], sizeof input_path);
  wcstombs(output_path, wide[6], sizeof output_path);

  const HMODULE runtime = LoadLibraryW(wide[1]);
  if (runtime == NULL) stop("onnxruntime.dll", "cannot be loaded");
  const ApiBase* base = ((const ApiBase* (*)(void))GetProcAddress(runtime, "OrtGetApiBase"))();
  api = base->get_api(kApiVersion);
  if (api == NULL) stop("onnxruntime.dll", "is older than 1.17");

  size_t count = 0, expected_count = 0;
  int64_t shape[kMaxRank];
  const size_t rank = parse_shape(shape_text, shape);
  float* input = read_numbers(input_path, &count);
  const float* expected = read_numbers(output_path, &expected_count);

  void *env = NULL, *options = NULL, *session = NULL, *memory = NULL, *x = NULL, *y = NULL;
  CALL(3, kWarning, "try_dll", &env);
  CALL(10, &options);
  CALL(228, options, wide[2]);
  CALL(7, env, wide[3], options, &session);
  CALL(69, kArena, 0, &memory);
  CALL(49, memory, input, count * sizeof(float), shape, rank, kFloat, &x);
  const char *x_name = "x", *y_name = "y";
  CALL(9, session, NULL, &x_name, &x, (size_t)1, &y_name, (size_t)1, &y);
  float* output = NULL;
  CALL(51, y, &output);
  const double error = relative_error(output, expected, expected_count);
  printf("relative L2 error %.1e, by ONNX Runtime %s on Windows\n", error, base->get_version_string());
  return !(error < 2e-6);
}
