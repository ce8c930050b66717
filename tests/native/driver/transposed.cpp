// Transposed convolutions against the sum by its definition, in double, some of them with weights that are an inverse
// windowed DFT basis. For the sanitizers. Arguments: number of convolutions, seed. Prints what failed, and exits with 1
// if anything did, or with 2 if this CPU lacks the instruction set that ONNX_FFT_ISA asks for.
#include "engine/transposed.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "draws.h"
#include "kernels/half.h"
#include "kernels/isa.h"
#include "planner/basis.h"
#include "planner/overlap.h"
#include "threads.h"

namespace {

using onnx_fft::DType;
using onnx_fft::kMaxRank;
using onnx_fft::TransposedAttributes;
using onnx_fft::TransposedConvolution;

constexpr double kPi = 3.14159265358979323846;

struct Case {
  TransposedAttributes attributes;
  int64_t batch, inputs, outputs;  // channels of a group
  int64_t extents[kMaxRank] = {1, 1, 1};
  int64_t length = 0;  // of the DFT; 0 for weights that are no basis
  bool has_bias, has_constant_weights;

  int rank() const { return attributes.conv.rank; }
  int64_t in_channels() const { return inputs * attributes.conv.group; }
  int64_t taps() const { return onnx_fft::count_elements(attributes.conv.kernel, rank()); }
  int64_t points() const { return onnx_fft::count_elements(extents, rank()); }
};

// Pads that leave outputs.
void draw_pads(Case& c, Random& random) {
  auto& conv = c.attributes.conv;
  for (int axis = 0; axis < c.rank(); ++axis) {
    c.attributes.output_padding[axis] =
        pick(random, 0, 1) ? 0 : pick(random, 0, std::max(conv.strides[axis], conv.dilations[axis]) - 1);
    const int64_t full =
        conv.strides[axis] * (c.extents[axis] - 1) + c.attributes.output_padding[axis] + conv.span(axis);
    conv.pads_begin[axis] = pick(random, 0, 1) ? 0 : pick(random, 0, std::min(full - 1, conv.span(axis) + 3));
    conv.pads_end[axis] = pick(random, 0, 1) ? 0 : pick(random, 0, full - 1 - conv.pads_begin[axis]);
  }
}

Case draw_case(Random& random) {
  Case c{};
  auto& conv = c.attributes.conv;
  conv.rank = static_cast<int>(pick(random, 1, kMaxRank));
  conv.group = pick(random, 0, 2) ? 1 : pick(random, 2, 4);
  c.batch = pick(random, 1, 2);
  c.inputs = pick(random, 1, 7);
  c.outputs = pick(random, 1, 7);
  c.has_bias = pick(random, 0, 1);
  c.has_constant_weights = pick(random, 0, 2) > 0;
  const int64_t longest = conv.rank == 1 ? 150 : conv.rank == 2 ? 24 : 8;
  for (int axis = 0; axis < conv.rank; ++axis) {
    conv.kernel[axis] = pick(random, 1, longest / 2);
    conv.strides[axis] = pick(random, 0, 1) ? pick(random, 1, 2) : pick(random, 1, 9);
    conv.dilations[axis] = pick(random, 0, 2) ? 1 : pick(random, 2, 4);
    c.extents[axis] = pick(random, 1, longest);
  }
  draw_pads(c, random);
  return c;
}

Case draw_inverse_stft(Random& random) {
  Case c{};
  auto& conv = c.attributes.conv;
  conv.rank = pick(random, 0, 3) == 0 ? 2 : 1;
  conv.group = pick(random, 0, 3) == 0 ? 2 : 1;
  conv.kernel[0] = pick(random, 32, 150);
  conv.strides[0] = pick(random, 1, conv.kernel[0] + 5);
  c.length = pick(random, 0, 1) ? conv.kernel[0] : pick(random, conv.kernel[0], 2 * conv.kernel[0]);
  c.batch = pick(random, 1, 2);
  c.inputs = pick(random, 40, 70);
  c.outputs = 1;
  c.extents[0] = pick(random, 1, 60);
  c.has_bias = pick(random, 0, 1);
  c.has_constant_weights = true;
  draw_pads(c, random);
  if (conv.rank == 2) conv.pads_begin[1] = conv.pads_end[1] = c.attributes.output_padding[1] = 0;
  return c;
}

// Rows of any bins in any order, scaled, some of them zeros, behind a window.
std::vector<double> draw_basis(const Case& c, Random& random) {
  std::vector<double> weights;
  const bool has_window = pick(random, 0, 1);
  for (int64_t row = 0; row < c.in_channels(); ++row) {
    const int64_t bin = pick(random, 0, c.length / 2);
    const double scale = pick(random, 0, 12) == 0 ? 0 : std::exp(double(pick(random, -200, 200)) / 100);
    const double turn = double(pick(random, 0, 3)) / 4;
    for (int64_t k = 0; k < c.taps(); ++k) {
      const double window = has_window ? 0.6 - 0.5 * std::cos(2 * kPi * double(k) / double(c.taps())) : 1;
      weights.push_back(scale * window * std::cos(2 * kPi * (double(bin * k % c.length) / double(c.length) + turn)));
    }
  }
  return weights;
}

// Every product is added to the output that it belongs to.
std::vector<double> expect(const Case& c, const std::vector<int64_t>& y_shape, const std::vector<double>& x,
                           const std::vector<double>& w, const std::vector<double>& bias) {
  const auto& conv = c.attributes.conv;
  const int64_t plane = onnx_fft::count_elements(y_shape.data() + 2, c.rank());
  std::vector<double> y(static_cast<size_t>(y_shape[0] * y_shape[1] * plane));
  for (size_t i = 0; c.has_bias && i < y.size(); ++i) {
    y[i] = bias[i / static_cast<size_t>(plane) % static_cast<size_t>(y_shape[1])];
  }
  const int64_t taps = c.taps(), points = c.points();
  for (int64_t pair = 0; pair < points * taps; ++pair) {
    int64_t point = pair / taps, tap = pair % taps, place = 0, step = 1;
    bool inside = true;
    for (int axis = c.rank() - 1; axis >= 0; --axis) {
      const int64_t at = point % c.extents[axis] * conv.strides[axis] + tap % conv.kernel[axis] * conv.dilations[axis] -
                         conv.pads_begin[axis];
      inside = inside && at >= 0 && at < y_shape[static_cast<size_t>(2 + axis)];
      place += at * step;
      step *= y_shape[static_cast<size_t>(2 + axis)];
      point /= c.extents[axis];
      tap /= conv.kernel[axis];
    }
    if (!inside) continue;
    for (int64_t image = 0; image < c.batch; ++image) {
      for (int64_t in = 0; in < c.in_channels(); ++in) {
        const double value = x[static_cast<size_t>((image * c.in_channels() + in) * points + pair / taps)];
        for (int64_t out = 0; out < c.outputs; ++out) {
          const int64_t channel = in / c.inputs * c.outputs + out;
          y[static_cast<size_t>((image * y_shape[1] + channel) * plane + place)] +=
              value * w[static_cast<size_t>((in * c.outputs + out) * taps + pair % taps)];
        }
      }
    }
  }
  return y;
}

template <typename Storage>
std::vector<Storage> run(const Case& c, const TransposedConvolution& convolution, const std::vector<Storage>& x,
                         const std::vector<Storage>& w, const std::vector<Storage>& bias,
                         const std::vector<int64_t>& x_shape, size_t threads) {
  const auto execution = convolution.execution_for(x_shape.data());
  std::vector<Storage> y(static_cast<size_t>(execution->outputs));
  convolution.run(*execution, x.data(), c.has_constant_weights ? nullptr : w.data(), c.has_bias ? bias.data() : nullptr,
                  y.data(), {&threads, run_on_threads});
  return y;
}

// Whether a basis is taken for one, and one with a weight that is off for none; "" if so.
template <typename Storage>
std::string check_basis(const Case& c, DType dtype, std::vector<double> w, const std::vector<int64_t>& x_shape,
                        Random& random) {
  const auto is_overlapped = [&] {
    const std::vector<Storage> stored = store<Storage>(w);
    const TransposedConvolution convolution(c.attributes, dtype, c.in_channels(), c.outputs, stored.data());
    return convolution.execution_for(x_shape.data())->overlap != nullptr;
  };
  if (!is_overlapped()) return "was not taken for a basis";
  const auto least = std::minmax_element(w.begin(), w.end());
  const double largest = std::max(-*least.first, *least.second);
  w[static_cast<size_t>(pick(random, 0, static_cast<int64_t>(w.size()) - 1))] +=
      (dtype == DType::kFloat16 ? 1e-2 : 1e-3) * largest;
  return is_overlapped() ? "was taken for a basis" : "";
}

// What is wrong, "" if nothing is.
template <typename Storage>
std::string check(const Case& c, DType dtype, Random& random) {
  std::vector<int64_t> x_shape{c.batch, c.in_channels()};
  x_shape.insert(x_shape.end(), c.extents, c.extents + c.rank());
  std::vector<double> x = draw_values(random, static_cast<size_t>(c.batch * c.in_channels() * c.points()));
  std::vector<double> w = c.length > 0
                              ? draw_basis(c, random)
                              : draw_values(random, static_cast<size_t>(c.in_channels() * c.outputs * c.taps()));
  std::vector<double> bias = draw_values(random, static_cast<size_t>(c.outputs * c.attributes.conv.group));
  const std::vector<Storage> xr = store<Storage>(x), wr = store<Storage>(w), br = store<Storage>(bias);
  const TransposedConvolution convolution(c.attributes, dtype, c.in_channels(), c.outputs,
                                          c.has_constant_weights ? wr.data() : nullptr);
  const auto execution = convolution.execution_for(x_shape.data());
  if (c.has_constant_weights) convolution.prepare(*execution);
  const std::vector<Storage> y = run(c, convolution, xr, wr, br, x_shape, 1),
                             again = run(c, convolution, xr, wr, br, x_shape, 3);
  if (std::memcmp(y.data(), again.data(), y.size() * sizeof(Storage)) != 0) return "depends on threads";
  const std::vector<double> right = expect(c, execution->y_shape, x, w, bias);
  double error = 0, norm = 0;
  for (size_t i = 0; i < right.size(); ++i) {
    error += std::pow(onnx_fft::widen(y[i]) - right[i], 2);
    norm += right[i] * right[i];
  }
  // A transform's error is as large as what is around: not 0 where few taps reach an output.
  norm = std::max(norm, c.length > 0 ? 0 : double(right.size()) * double(c.inputs));
  const double limit = dtype == DType::kFloat64 ? 1e-14 : dtype == DType::kFloat16 ? 1e-3 : 5e-7;
  if (!(std::sqrt(error) <= limit * std::sqrt(norm))) return "error " + std::to_string(std::sqrt(error / norm) / limit);
  return c.length > 0 ? check_basis<Storage>(c, dtype, w, x_shape, random) : "";
}

std::string describe(const Case& c) {
  const auto& conv = c.attributes.conv;
  std::string text = std::to_string(c.batch) + " x " + std::to_string(c.inputs) + " -> " + std::to_string(c.outputs) +
                     ", group " + std::to_string(conv.group) + ", DFT of " + std::to_string(c.length) +
                     (c.has_constant_weights ? "" : ", weights at run time");
  for (int axis = 0; axis < c.rank(); ++axis) {
    text += "; " + std::to_string(c.extents[axis]) + " * " + std::to_string(conv.kernel[axis]) + " stride " +
            std::to_string(conv.strides[axis]) + " dilation " + std::to_string(conv.dilations[axis]) + " pads " +
            std::to_string(conv.pads_begin[axis]) + " " + std::to_string(conv.pads_end[axis]) + " output padding " +
            std::to_string(c.attributes.output_padding[axis]);
  }
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  const int cases = argc > 1 ? std::atoi(argv[1]) : 100;
  const unsigned seed = argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 20260101;
  const char* isa = nullptr;
  try {
    isa = onnx_fft::isa_name();
  } catch (const std::runtime_error& error) {
    std::printf("%s\n", error.what());
    return 2;
  }
  Random random(seed);
  int wrong = 0;
  for (int number = 0; number < cases; ++number) {
    const Case c = number % 3 == 0 ? draw_inverse_stft(random) : draw_case(random);
    const DType dtype = number % 4 == 0 ? DType::kFloat64 : number % 4 == 1 ? DType::kFloat16 : DType::kFloat32;
    const std::string problem = dtype == DType::kFloat64   ? check<double>(c, dtype, random)
                                : dtype == DType::kFloat16 ? check<onnx_fft::Half>(c, dtype, random)
                                                           : check<float>(c, dtype, random);
    if (problem.empty()) continue;
    std::printf("%d: %s: float%d, %s\n", number, problem.c_str(), 8 * static_cast<int>(onnx_fft::element_bytes(dtype)),
                describe(c).c_str());
    ++wrong;
  }
  std::printf("%s, seed %u: %d of %d failed\n", isa, seed, wrong, cases);
  return wrong > 0;
}
