// One convolution by FFT, on raw memory: knows nothing of ONNX Runtime. The binding (op.cpp) is its only user besides
// the test driver.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace onnx_fft {

constexpr int kMaxRank = 3;

enum class DType { kFloat16, kFloat32, kFloat64 };

inline size_t element_bytes(DType dtype) { return dtype == DType::kFloat16 ? 2 : dtype == DType::kFloat32 ? 4 : 8; }

enum class ActivationKind { kNone, kRelu, kLeakyRelu, kClip, kHardSigmoid };

// alpha and beta as in ONNX; for Clip they are the least and the greatest value.
struct Activation {
  ActivationKind kind = ActivationKind::kNone;
  float alpha = 0;
  float beta = 0;
};

// Conv's attributes, auto_pad resolved. All counts are positive, pads may be negative.
struct ConvAttributes {
  int rank = 0;
  int64_t group = 1;
  int64_t kernel[kMaxRank] = {1, 1, 1};
  int64_t strides[kMaxRank] = {1, 1, 1};
  int64_t dilations[kMaxRank] = {1, 1, 1};
  int64_t pads_begin[kMaxRank] = {0, 0, 0};
  int64_t pads_end[kMaxRank] = {0, 0, 0};
  Activation activation;
};

// Whose threads to use: calls `task(data, index)` for every index below `count`, in any order, from any thread.
struct Executor {
  void* state;
  void (*parallel_for)(void* state, void (*task)(void* data, size_t index), size_t count, void* data);
};

// Runs every task on the calling thread.
Executor serial_executor();

// Name of the instruction set whose kernels run here: "baseline", "avx2" or "avx512"; ONNX_FFT_ISA forces one.
// Throws std::runtime_error where the name is unknown or this CPU has no such instructions.
const char* isa_name();

// x [batch, in_channels, *extents] * w [out_channels, in_channels / group, *kernel] -> y [batch, out_channels,
// *outputs]. Every const function may be called from several threads at once.
class Convolution {
 public:
  // `constant_weights`: w where it never changes and outlives this object; its spectra are then computed once for each
  // tile size. nullptr where it comes with every run.
  Convolution(const ConvAttributes& attributes, DType dtype, int64_t out_channels, int64_t in_channels_per_group,
              const void* constant_weights);
  ~Convolution();

  // y_shape [rank + 2] for x_shape [rank + 2]; throws std::invalid_argument with a sentence where they do not fit.
  void output_shape(const int64_t* x_shape, int64_t* y_shape) const;

  // Computes the spectra for inputs of this shape ahead of the first run.
  void prepare(const int64_t* x_shape) const;

  // Whether the direct sum is expected to be faster for this shape.
  bool prefers_direct(const int64_t* x_shape) const;

  // `w` is ignored where the weights are constant; `bias` [out_channels] may be nullptr. Arrays hold `dtype`.
  void run(const void* x, const int64_t* x_shape, const void* w, const void* bias, void* y,
           const Executor& executor) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Applies `activation` in place, for the direct path.
void activate(const Activation& activation, DType dtype, void* y, size_t count);

}  // namespace onnx_fft
