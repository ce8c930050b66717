// Compares the library with the sum by its definition, in double, on random convolutions: for the sanitizers, which
// cannot look into a Python process. Arguments: number of convolutions, seed, and "wild" for convolutions that nobody
// writes: empty inputs, huge strides, dilations and pads. Prints what failed, and exits with 1 if anything did, or with
// 2 if this CPU lacks the instruction set that ONNX_FFT_ISA asks for.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "draws.h"
#include "engine/convolution.h"
#include "epilogues.h"
#include "kernels/half.h"
#include "kernels/isa.h"
#include "threads.h"

namespace {

using onnx_fft::ActivationKind;
using onnx_fft::ConvAttributes;
using onnx_fft::Convolution;
using onnx_fft::DType;
using onnx_fft::kMaxRank;
using Shape = std::vector<int64_t>;

struct Case {
  ConvAttributes attributes;
  int64_t batch, in_channels, out_channels;  // in_channels of a group
  int64_t extents[kMaxRank] = {1, 1, 1};
  bool has_bias, constant_weights, has_residual, is_normalized;

  Shape x_shape() const { return with_channels(batch, in_channels * attributes.group, extents); }
  Shape w_shape() const { return with_channels(out_channels, in_channels, attributes.kernel); }

 private:
  Shape with_channels(int64_t first, int64_t second, const int64_t* lengths) const {
    Shape shape{first, second};
    shape.insert(shape.end(), lengths, lengths + attributes.rank);
    return shape;
  }
};

size_t count(const Shape& shape) {
  size_t total = 1;
  for (const int64_t length : shape) total *= static_cast<size_t>(length);
  return total;
}

Case draw_case(Random& random) {
  Case c{};
  ConvAttributes& a = c.attributes;
  a.rank = static_cast<int>(pick(random, 1, kMaxRank));
  const bool depthwise = pick(random, 1, 3) == 1;
  a.group = pick(random, 1, depthwise ? 40 : 4);
  c.batch = pick(random, 1, 2);
  c.in_channels = depthwise ? 1 : pick(random, 1, 9);
  c.out_channels = a.group * (depthwise ? 1 : pick(random, 1, 18));
  c.has_bias = pick(random, 0, 1);
  c.constant_weights = pick(random, 0, 2) > 0;
  c.has_residual = pick(random, 0, 2) == 0;
  c.is_normalized = pick(random, 0, 2) == 0;
  // No activation makes an error much larger.
  a.activation = {static_cast<ActivationKind>(pick(random, 0, static_cast<int64_t>(ActivationKind::kTanh))), 0.25f,
                  1.5f};
  const int64_t longest = a.rank == 1 ? 300 : a.rank == 2 ? 40 : 12;
  for (int axis = 0; axis < a.rank; ++axis) {
    a.kernel[axis] = pick(random, 1, longest / 3);
    a.strides[axis] = pick(random, 0, 2) ? 1 : pick(random, 2, 4);
    a.dilations[axis] = pick(random, 0, 2) ? 1 : pick(random, 2, 3);
    const int64_t span = a.dilations[axis] * (a.kernel[axis] - 1) + 1;
    a.pads_begin[axis] = pick(random, -2, span);
    a.pads_end[axis] = pick(random, -2, span);
    const int64_t least = std::max<int64_t>(1, span - a.pads_begin[axis] - a.pads_end[axis]);
    c.extents[axis] = pick(random, least, std::max(least, longest));
  }
  return c;
}

// One that may not fit its input at all: then the library has to say so.
Case draw_wild_case(Random& random) {
  Case c = draw_case(random);
  ConvAttributes& a = c.attributes;
  c.batch = pick(random, 0, 3);
  const auto change = [&](int64_t& value, std::initializer_list<int64_t> choices) {
    if (pick(random, 0, 5) == 0) value = choices.begin()[pick(random, 0, static_cast<int64_t>(choices.size()) - 1)];
  };
  constexpr int64_t kHuge = int64_t{1} << 40;
  for (int axis = 0; axis < a.rank; ++axis) {
    const int64_t span = a.dilations[axis] * (a.kernel[axis] - 1) + 1;
    for (int64_t* pad : {&a.pads_begin[axis], &a.pads_end[axis]}) {
      change(*pad, {-kHuge, -c.extents[axis], 1 - c.extents[axis], -1, span - 1, span, 3 * span + 50, 1 << 20, kHuge});
    }
    change(a.strides[axis], {1, 2, 7, 100, c.extents[axis], 1 << 20, kHuge});
    change(a.dilations[axis], {1, 2, 7, 100, c.extents[axis], 1 << 20, kHuge});
    change(c.extents[axis], {0, 1, 2, 3});
  }
  return c;
}

// An output, and the sum of its squared terms, which says how large it might be.
struct Sum {
  double value = 0, squares = 0;

  void add(double term) {
    value += term;
    squares += term * term;
  }
};

// The sum for one output position: `at` holds batch, channel and the place along each axis.
Sum sum_at(const Case& c, const Shape& at, const std::vector<double>& x, const std::vector<double>& w) {
  const ConvAttributes& a = c.attributes;
  const int64_t group = at[1] / (c.out_channels / a.group);
  int64_t kernel_size = 1;
  for (int axis = 0; axis < a.rank; ++axis) kernel_size *= a.kernel[axis];
  Sum sum;
  for (int64_t channel = 0; channel < c.in_channels; ++channel) {
    for (int64_t tap = 0; tap < kernel_size; ++tap) {
      int64_t rest = tap, place = 0, scale = 1;
      bool inside = true;
      for (int axis = a.rank - 1; axis >= 0; --axis) {
        const int64_t j =
            at[axis + 2] * a.strides[axis] + rest % a.kernel[axis] * a.dilations[axis] - a.pads_begin[axis];
        rest /= a.kernel[axis];
        inside = inside && j >= 0 && j < c.extents[axis];
        place += j * scale;
        scale *= c.extents[axis];
      }
      const int64_t plane = at[0] * c.in_channels * a.group + group * c.in_channels + channel;
      if (inside) sum.add(x[plane * scale + place] * w[(at[1] * c.in_channels + channel) * kernel_size + tap]);
    }
  }
  return sum;
}

// Whether the sum by its definition, its arrays, and the padded input, all of which is transformed, are small enough to
// compute here.
bool is_small(const Case& c, const Shape& y_shape) {
  double outputs = 1, taps = static_cast<double>(c.in_channels);
  double padded = static_cast<double>(c.batch * c.attributes.group * c.in_channels);
  for (const int64_t length : y_shape) outputs *= static_cast<double>(length);
  for (const int64_t length : c.attributes.kernel) taps *= static_cast<double>(length);
  for (int axis = 0; axis < c.attributes.rank; ++axis) {
    padded *= static_cast<double>(c.extents[axis] + c.attributes.pads_begin[axis] + c.attributes.pads_end[axis]);
  }
  return outputs * taps < 1e7 && padded < 1e8;
}

// L2 error of one run, relative to the size of the terms; -1 if it would take too long: then it is planned only. Throws
// std::invalid_argument if the library refuses it.
template <typename Storage>
double measure_error(const Case& c, DType dtype, size_t threads, Random& random) {
  const Shape x_shape = c.x_shape();
  std::vector<double> x = draw_values(random, count(x_shape)), w = draw_values(random, count(c.w_shape()));
  std::vector<double> bias = draw_values(random, static_cast<size_t>(c.out_channels));
  const std::vector<Storage> xr = store<Storage>(x), wr = store<Storage>(w), br = store<Storage>(bias);
  const Convolution convolution(c.attributes, dtype, c.out_channels, c.in_channels,
                                c.constant_weights ? wr.data() : nullptr);
  const std::shared_ptr<const onnx_fft::Execution> execution = convolution.execution_for(x_shape.data());
  const Shape& y_shape = execution->y_shape;
  if (!is_small(c, y_shape)) return -1;  // but it was planned, or refused
  if (c.constant_weights) convolution.prepare(*execution);
  std::vector<double> residual = draw_values(random, count(y_shape));
  const std::vector<Storage> rr = store<Storage>(residual);
  const std::vector<double> slope = draw_values(random, bias.size()), scale = draw_values(random, bias.size()),
                            shift = draw_values(random, bias.size());
  onnx_fft::EpilogueOperands operands;
  if (c.has_bias) operands.bias = br.data();
  if (c.has_residual) operands.residual = rr.data();
  if (c.attributes.activation.kind == ActivationKind::kPRelu) operands.slope = slope.data();
  if (c.is_normalized) operands.scale = scale.data(), operands.shift = shift.data();
  std::vector<double> untouched(count(y_shape), 1e4);
  std::vector<Storage> y = store<Storage>(untouched);
  convolution.run(*execution, xr.data(), c.constant_weights ? nullptr : wr.data(), operands, y.data(),
                  {&threads, run_on_threads});
  double error = 0, norm = 0;
  Shape at(y_shape.size());
  for (size_t i = 0; i < y.size(); ++i) {
    size_t rest = i;
    for (size_t axis = y_shape.size(); axis-- > 0; rest /= static_cast<size_t>(y_shape[axis])) {
      at[axis] = static_cast<int64_t>(rest % static_cast<size_t>(y_shape[axis]));
    }
    Sum expected = sum_at(c, at, x, w);
    const size_t channel = static_cast<size_t>(at[1]);
    if (c.has_bias) expected.add(bias[channel]);
    if (c.has_residual) expected.add(residual[i]);
    expected.value =
        static_cast<double>(activate_by_definition(c.attributes.activation, slope[channel], expected.value));
    if (c.is_normalized) {
      expected.value = expected.value * scale[channel] + shift[channel];
      expected.squares = std::fma(expected.squares, scale[channel] * scale[channel], shift[channel] * shift[channel]);
    }
    const double difference = onnx_fft::widen(y[i]) - expected.value;
    error += difference * difference;
    norm += expected.squares;
  }
  // A transform's error is as large as what is around: not 0 where all of a kernel lies on padding.
  const double usual = static_cast<double>(y.size() * count(c.w_shape()) / static_cast<size_t>(c.out_channels));
  return y.empty() ? 0 : std::sqrt(error / std::max(norm, usual));
}

std::string describe(const Case& c) {
  std::string text = "batch " + std::to_string(c.batch) + ", " + std::to_string(c.in_channels) + " a group -> " +
                     std::to_string(c.out_channels) + ", group " + std::to_string(c.attributes.group);
  const auto& a = c.attributes;
  for (int axis = 0; axis < a.rank; ++axis) {
    text += "; " + std::to_string(c.extents[axis]) + " * " + std::to_string(a.kernel[axis]) + " stride " +
            std::to_string(a.strides[axis]) + " dilation " + std::to_string(a.dilations[axis]) + " pads " +
            std::to_string(a.pads_begin[axis]) + " " + std::to_string(a.pads_end[axis]);
  }
  return text + "; activation " + std::to_string(static_cast<int>(a.activation.kind)) +
         (c.has_residual ? ", residual" : "") + (c.is_normalized ? ", normalized" : "");
}

enum Outcome { kPassed, kFailed, kRefused, kTooLarge };

Outcome check(int number, bool wild, Random& random) {
  const Case c = wild ? draw_wild_case(random) : draw_case(random);
  const size_t threads = static_cast<size_t>(wild ? pick(random, 1, 5) : 2);
  const DType dtype = number % 4 == 0 ? DType::kFloat64 : number % 4 == 1 ? DType::kFloat16 : DType::kFloat32;
  const double limit = dtype == DType::kFloat64 ? 1e-14 : dtype == DType::kFloat16 ? 1e-3 : 5e-7;
  double error = 0;
  try {
    error = dtype == DType::kFloat64   ? measure_error<double>(c, dtype, threads, random)
            : dtype == DType::kFloat16 ? measure_error<onnx_fft::Half>(c, dtype, threads, random)
                                       : measure_error<float>(c, dtype, threads, random);
  } catch (const std::invalid_argument&) {
    if (wild) return kRefused;
    throw;
  } catch (const std::exception& exception) {
    std::printf("%d: %s: %s\n", number, exception.what(), describe(c).c_str());
    return kFailed;
  }
  if (error < 0) return kTooLarge;
  if (error <= limit) return kPassed;
  std::printf("%d: error %.1e over %.0e, float%d: %s\n", number, error, limit,
              8 * static_cast<int>(onnx_fft::element_bytes(dtype)), describe(c).c_str());
  return kFailed;
}

}  // namespace

int main(int argc, char** argv) {
  const int cases = argc > 1 ? std::atoi(argv[1]) : 100;
  const unsigned seed = argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 20260101;
  const bool wild = argc > 3 && std::string(argv[3]) == "wild";
  const char* isa = nullptr;
  try {
    isa = onnx_fft::isa_name();
  } catch (const std::runtime_error& error) {
    std::printf("%s\n", error.what());
    return 2;
  }
  Random random(seed);
  const int wrong = wild ? 0 : check_epilogues(1000, seed);
  int counts[4] = {};
  for (int number = 0; number < cases; ++number) ++counts[check(number, wild, random)];
  std::printf("%s, seed %u: %d passed, %d failed, %d refused, %d too large to try\n", isa, seed, counts[kPassed],
              counts[kFailed], counts[kRefused], counts[kTooLarge]);
  return counts[kFailed] + wrong > 0;
}
