// Convolutions whose weights are a windowed DFT basis, against the sum by its definition, in double, also as power and
// magnitude, and turned; and weights that nearly are one, which must be computed as any others are. For the sanitizers.
// Arguments: number of convolutions, seed. Prints what failed, and exits with 1 if anything did, or with 2 if this CPU
// lacks the instruction set that ONNX_FFT_ISA asks for.
#include "planner/frames.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <stdexcept>
#include <vector>

#include "draws.h"
#include "engine/convolution.h"
#include "kernels/half.h"
#include "kernels/isa.h"
#include "planner/basis.h"
#include "planner/plan.h"
#include "planner/tile_plan.h"
#include "threads.h"

namespace {

using onnx_fft::BinForm;
using onnx_fft::ConvAttributes;
using onnx_fft::Convolution;
using onnx_fft::DType;

constexpr double kPi = 3.14159265358979323846;

struct Case {
  ConvAttributes attributes;
  int64_t batch, rows, extent, length;
  bool is_image;  // the signal is the first axis of two
  onnx_fft::FrameForm form;

  int64_t taps() const { return attributes.kernel[0]; }
};

Case draw_case(Random& random) {
  Case c{};
  ConvAttributes& a = c.attributes;
  c.is_image = pick(random, 0, 3) == 0;
  a.rank = c.is_image ? 2 : 1;
  a.group = pick(random, 0, 3) == 0 ? 2 : 1;
  a.kernel[0] = pick(random, 32, 150);
  a.strides[0] = pick(random, 1, a.kernel[0]);
  a.dilations[0] = pick(random, 0, 4) == 0 ? 2 : 1;
  a.pads_begin[0] = pick(random, 0, 1) ? 0 : pick(random, -3, a.kernel[0]);
  a.pads_end[0] = pick(random, 0, 1) ? 0 : pick(random, -3, a.kernel[0]);
  a.activation.kind = pick(random, 0, 2) == 0 ? onnx_fft::ActivationKind::kRelu : onnx_fft::ActivationKind::kNone;
  c.length = pick(random, 0, 1) ? a.kernel[0] : pick(random, a.kernel[0], 2 * a.kernel[0]);
  c.batch = pick(random, 1, 2);
  c.rows = pick(random, 24, 60) * a.group;
  c.extent = a.span(0) + pick(random, 3, 40 * a.strides[0]);
  if (c.is_image || a.group > 1 || pick(random, 0, 1)) return c;
  a.activation.kind = onnx_fft::ActivationKind::kNone;
  const BinForm forms[] = {BinForm::kParts, BinForm::kPower, BinForm::kMagnitude};
  c.form.bins = forms[pick(random, 0, 2)];
  c.form.turns = !c.form.joins() || pick(random, 0, 1) == 1;
  c.rows += c.rows % 2;
  return c;
}

// Rows of any bins in any order, scaled, some of them zeros, behind a window of one of several kinds.
std::vector<double> draw_basis(const Case& c, Random& random) {
  const int64_t taps = c.taps();
  const int64_t kind = pick(random, 0, 3);
  std::vector<double> weights;
  for (int64_t row = 0; row < c.rows; ++row) {
    const int64_t bin = pick(random, 0, c.length / 2);
    const double scale = pick(random, 0, 12) == 0 ? 0 : std::exp(double(pick(random, -200, 200)) / 100);
    const double turn = double(pick(random, 0, 3)) / 4;
    for (int64_t k = 0; k < taps; ++k) {
      const double place = double(k) / double(taps);
      const double hann = 0.5 - 0.5 * std::cos(2 * kPi * place);
      const double window = kind == 0 ? 1 : kind == 1 ? hann : kind == 2 ? std::pow(hann, 0.85) + 0.1 : 1.5 - place;
      weights.push_back(scale * window * std::cos(2 * kPi * (double(bin * k % c.length) / double(c.length) + turn)));
    }
  }
  return weights;
}

double expect(const Case& c, int64_t plane, int64_t channel, int64_t frame, const std::vector<double>& x,
              const std::vector<double>& w) {
  const ConvAttributes& a = c.attributes;
  double sum = 0;
  for (int64_t k = 0; k < c.taps(); ++k) {
    const int64_t at = frame * a.strides[0] + k * a.dilations[0] - a.pads_begin[0];
    if (at >= 0 && at < c.extent) {
      sum += x[static_cast<size_t>(plane * c.extent + at)] * w[static_cast<size_t>(channel * c.taps() + k)];
    }
  }
  return a.activation.kind == onnx_fft::ActivationKind::kRelu ? std::max(sum, 0.0) : sum;
}

// One number of an image's output, at `place` in it.
double expect_output(const Case& c, int64_t image, int64_t place, int64_t frames, const std::vector<double>& x,
                     const std::vector<double>& w) {
  const int64_t outputs = c.form.outputs(c.rows), inputs = c.attributes.group;
  const int64_t channel = c.form.turns ? place % outputs : place / frames;
  const int64_t frame = c.form.turns ? place / outputs : place % frames;
  const int64_t plane = image * inputs + channel / (c.rows / inputs);
  const double sum = expect(c, plane, channel, frame, x, w);
  if (!c.form.joins()) return sum;
  const double other = expect(c, plane, channel + outputs, frame, x, w), power = sum * sum + other * other;
  return c.form.bins == BinForm::kPower ? power : std::sqrt(power);
}

// What is wrong with the outputs, "" if nothing is. `limit` is of the relative L2 error.
template <typename Storage>
std::string compare(const Case& c, const Convolution& convolution, const onnx_fft::Execution& execution,
                    const std::vector<double>& x, const std::vector<Storage>& stored, const std::vector<double>& w,
                    double limit) {
  const int64_t frames = execution.y_shape[c.form.turns ? 1 : 2], image = c.form.outputs(c.rows) * frames;
  std::vector<Storage> y(static_cast<size_t>(c.batch * image)), again(y.size());
  for (size_t threads : {1, 3}) {
    convolution.run(execution, stored.data(), nullptr, {}, threads == 1 ? y.data() : again.data(),
                    {&threads, run_on_threads});
  }
  if (std::memcmp(y.data(), again.data(), y.size() * sizeof(Storage)) != 0) return "depends on threads";
  double error = 0, norm = 0;
  for (int64_t i = 0; i < c.batch * image; ++i) {
    const double right = expect_output(c, i / image, i % image, frames, x, w);
    error += std::pow(onnx_fft::widen(y[static_cast<size_t>(i)]) - right, 2);
    norm += right * right;
  }
  return std::sqrt(error) <= limit * std::sqrt(norm) ? "" : "error " + std::to_string(std::sqrt(error / norm) / limit);
}

// What is wrong, "" if nothing is.
template <typename Storage>
std::string check(const Case& c, DType dtype, Random& random) {
  std::normal_distribution<double> normal;
  std::vector<double> w = draw_basis(c, random), x(static_cast<size_t>(c.batch * c.attributes.group * c.extent));
  const double spread = c.form.bins == BinForm::kPower ? 0.0625 : 1;  // within float16
  for (double& value : x) value = spread * normal(random);
  const std::vector<Storage> xr = store<Storage>(x), wr = store<Storage>(w);
  const int64_t x_shape[] = {c.batch, c.attributes.group, c.extent, 1};
  const Convolution convolution(c.attributes, dtype, c.rows, 1, wr.data(), c.form);
  const auto execution = convolution.execution_for(x_shape);
  const auto basis = onnx_fft::recognize_basis(w.data(), c.rows, c.taps(), dtype);
  if (basis == nullptr) return "was not taken for a basis";
  // One that takes a chirp may be slower.
  const bool is_short = onnx_fft::next_length(basis->length, false) == basis->length;
  if (is_short && (execution->plan == nullptr || execution->plan->frames == nullptr)) {
    return "was not transformed by frames";
  }
  const double limit = dtype == DType::kFloat64 ? 1e-14 : dtype == DType::kFloat16 ? 1e-3 : 5e-7;
  const std::string problem = compare<Storage>(c, convolution, *execution, x, xr, w, limit);
  if (!problem.empty()) return problem;
  // One weight that is off by a thousandth of the largest makes it a plain convolution.
  const size_t at = static_cast<size_t>(pick(random, 0, static_cast<int64_t>(w.size()) - 1));
  const double largest =
      std::abs(*std::max_element(w.begin(), w.end(), [](double a, double b) { return std::abs(a) < std::abs(b); }));
  w[at] += (dtype == DType::kFloat16 ? 1e-2 : 1e-3) * largest;
  const std::vector<Storage> near = store<Storage>(w);
  const Convolution plain(c.attributes, dtype, c.rows, 1, near.data(), c.form);
  const auto sums = plain.execution_for(x_shape);
  if (c.form.is_plain() ? sums->plan->frames != nullptr : sums->sums == nullptr) return "was taken for a basis";
  const std::string other = compare<Storage>(c, plain, *sums, x, xr, w, 2 * limit);
  return other.empty() ? "" : "as a plain convolution: " + other;
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
    const Case c = draw_case(random);
    const DType dtype = number % 4 == 0 ? DType::kFloat64 : number % 4 == 1 ? DType::kFloat16 : DType::kFloat32;
    const std::string problem = dtype == DType::kFloat64   ? check<double>(c, dtype, random)
                                : dtype == DType::kFloat16 ? check<onnx_fft::Half>(c, dtype, random)
                                                           : check<float>(c, dtype, random);
    if (problem.empty()) continue;
    std::printf("%d: %s: %lld rows of %lld taps, DFT of %lld, float%d\n", number, problem.c_str(),
                static_cast<long long>(c.rows), static_cast<long long>(c.taps()), static_cast<long long>(c.length),
                8 * static_cast<int>(onnx_fft::element_bytes(dtype)));
    ++wrong;
  }
  std::printf("%s, seed %u: %d of %d failed\n", isa, seed, wrong, cases);
  return wrong > 0;
}
