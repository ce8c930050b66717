// Compares DFTs with their definition, in double: of any length, form and layout, cropped and filled with zeros, and of
// windowed frames, also as power and magnitude; on one thread and on several, whose results must be the same bits.
// Arguments: number of transforms, seed. Prints what failed, and exits with 1 if anything did, or with 2 if this CPU
// lacks the instruction set that ONNX_FFT_ISA asks for.
#include "engine/fourier.h"

#include <algorithm>
#include <cmath>
#include <complex>
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
#include "planner/fourier_bytes.h"
#include "threads.h"

namespace {

using namespace onnx_fft;
using Number = std::complex<double>;

struct Case {
  FourierSpec spec;
  FourierLayout layout;
  int64_t x_count;
  bool is_windowed;

  int out_parts() const { return layout.out_parts(spec); }
  int64_t y_count() const { return layout.outer * layout.inner * spec.out_samples() * out_parts(); }
  std::string describe() const {
    return std::to_string(spec.length) + " points, form " + std::to_string(static_cast<int>(spec.form)) +
           (spec.inverse ? ", inverse" : "") + (spec.onesided ? ", onesided" : "") + "; " +
           std::to_string(layout.outer) + " x " + std::to_string(layout.inner) + " lines of " +
           std::to_string(layout.available) + (is_windowed ? ", windowed, as " : "") +
           (is_windowed ? std::to_string(static_cast<int>(layout.form)) : "");
  }
};

// Most lengths are short, some so long that a few lines are cut into columns.
Case draw_case(Random& random) {
  Case c{};
  const bool is_long = pick(random, 0, 7) == 0;
  c.spec.length = is_long ? pick(random, 500, 9000) : pick(random, 1, pick(random, 0, 1) ? 40 : 600);
  c.spec.form = static_cast<FourierForm>(pick(random, 0, 2));
  c.spec.inverse = c.spec.form == FourierForm::kHalf || pick(random, 0, 1);
  c.spec.onesided = c.spec.form == FourierForm::kHalf || (c.spec.form == FourierForm::kReal && pick(random, 0, 1));
  const int parts = c.spec.in_parts();
  const int64_t samples = c.spec.in_samples();
  c.is_windowed = c.spec.form != FourierForm::kHalf && pick(random, 0, 3) == 0;
  if (c.is_windowed) {
    const int64_t batch = pick(random, 0, 3), frames = pick(random, 1, is_long ? 2 : 40), step = pick(random, 1, 50);
    const int64_t length = (frames - 1) * step + c.spec.length + pick(random, 0, step - 1);
    const BinForm form = static_cast<BinForm>(pick(random, 0, 2));
    c.layout = lay_out_frames(batch, length, parts, frames, step, c.spec.length, form);
    c.x_count = batch * length * parts;
    return c;
  }
  const int64_t lines = is_long ? 3 : 40, available = pick(random, 0, 2) ? samples : pick(random, 0, samples + 5);
  const int64_t inner = pick(random, 0, 1) ? 1 : pick(random, 1, lines), outer = pick(random, 0, is_long ? 3 : 20);
  c.layout = lay_out_axis(outer, available, inner, parts);
  c.x_count = outer * available * inner * parts;
  return c;
}

// What the DFT reads of one line.
std::vector<Number> read_line(const Case& c, const std::vector<double>& x, const std::vector<double>& window,
                              int64_t outer, int64_t inner) {
  const FourierLayout& layout = c.layout;
  const int64_t parts = c.spec.in_parts(), samples = c.spec.in_samples(), length = c.spec.length;
  const int64_t begin =
      outer / layout.near_count * layout.far + outer % layout.near_count * layout.near + inner * parts;
  std::vector<Number> line(static_cast<size_t>(length));
  for (int64_t n = 0; n < std::min(samples, layout.available); ++n) {
    const size_t at = static_cast<size_t>(begin + n * layout.inner * parts);
    const double factor = c.is_windowed ? window[static_cast<size_t>(n)] : 1;
    line[static_cast<size_t>(n)] = Number(x[at], parts == 2 ? x[at + 1] : 0.0) * factor;
  }
  if (c.spec.form != FourierForm::kHalf) return line;
  line[0] = line[0].real();
  if (length % 2 == 0) line[static_cast<size_t>(length / 2)] = line[static_cast<size_t>(length / 2)].real();
  for (int64_t k = 1; 2 * k < length; ++k) {
    line[static_cast<size_t>(length - k)] = std::conj(line[static_cast<size_t>(k)]);
  }
  return line;
}

std::vector<Number> make_roots(const FourierSpec& spec) {
  const double turn = (spec.inverse ? 2 : -2) * 3.14159265358979323846 / static_cast<double>(spec.length);
  std::vector<Number> roots;
  for (int64_t n = 0; n < spec.length; ++n) roots.push_back(std::polar(1.0, turn * static_cast<double>(n)));
  return roots;
}

Number sum_at(const FourierSpec& spec, const std::vector<Number>& line, const std::vector<Number>& roots, int64_t k) {
  Number sum;
  for (int64_t n = 0; n < spec.length; ++n) {
    sum += line[static_cast<size_t>(n)] * roots[static_cast<size_t>(n * k % spec.length)];
  }
  return spec.inverse ? sum / static_cast<double>(spec.length) : sum;
}

// What the bin becomes, as the operator's output holds it.
Number join_parts(BinForm form, Number bin) {
  return form == BinForm::kParts ? bin : form == BinForm::kPower ? std::norm(bin) : std::abs(bin);
}

// Of a spread that keeps the power of long lines within float16.
template <typename Storage>
std::vector<Storage> draw_values(Random& random, int64_t count, std::vector<double>& values) {
  using Real = decltype(widen(Storage{}));
  std::normal_distribution<double> normal(0, 0.5);
  std::vector<Storage> stored(static_cast<size_t>(count));
  for (Storage& each : stored) {
    narrow(static_cast<Real>(normal(random)), &each);
    values.push_back(widen(each));
  }
  return stored;
}

// Relative L2 error of some lines, at some of their bins; what was not written is NaN.
template <typename Storage>
double compare(const Case& c, const std::vector<double>& x, const std::vector<double>& window,
               const std::vector<Storage>& y, Random& random) {
  constexpr int64_t kMostLines = 6, kMostBins = 200;
  constexpr double kLeast = 6.1e-5;  // below it float16's numbers lie no closer
  const std::vector<Number> roots = make_roots(c.spec);
  const int64_t lines = c.layout.outer * c.layout.inner, samples = c.spec.out_samples(), parts = c.out_parts();
  double error = 0, norm = 0;
  for (int64_t i = 0; i < std::min(lines, kMostLines); ++i) {
    const int64_t line = lines <= kMostLines ? i : i == 0 ? lines - 1 : pick(random, 0, lines - 1);
    const int64_t outer = line / c.layout.inner, inner = line % c.layout.inner;
    const std::vector<Number> in = read_line(c, x, window, outer, inner);
    for (int64_t j = 0; j < std::min(samples, kMostBins); ++j) {
      const int64_t k = samples <= kMostBins ? j : j == 0 ? samples - 1 : pick(random, 0, samples - 1);
      const Number expected = join_parts(c.layout.form, sum_at(c.spec, in, roots, k));
      const size_t at = static_cast<size_t>(((outer * samples + k) * c.layout.inner + inner) * parts);
      const Number got(widen(y[at]), parts == 2 ? widen(y[at + 1]) : 0.0);
      error += std::norm(got - (parts == 2 ? expected : expected.real()));
      norm += std::max(std::norm(expected), kLeast * kLeast);
    }
  }
  return error > 0 || error != error ? std::sqrt(error / std::max(norm, 1e-300)) : 0;
}

template <typename Storage>
bool check(int number, const Case& c, DType dtype, double limit, Random& random) {
  using Real = decltype(widen(Storage{}));
  const FourierEngine engine;
  std::vector<double> values, factors;
  const std::vector<Storage> x = draw_values<Storage>(random, c.x_count, values);
  const std::vector<Storage> window = draw_values<Storage>(random, c.is_windowed ? c.spec.length : 0, factors);
  Storage nan;
  narrow(static_cast<Real>(NAN), &nan);
  std::vector<Storage> results[2];
  for (size_t threads : {size_t{1}, static_cast<size_t>(pick(random, 2, 5))}) {
    std::vector<Storage>& y = results[threads > 1];
    y.assign(static_cast<size_t>(c.y_count()), nan);
    engine.run(c.spec, dtype, c.layout, x.data(), c.x_count, c.is_windowed ? window.data() : nullptr, y.data(),
               {&threads, run_on_threads});
  }
  const size_t bytes = results[0].size() * sizeof(Storage);
  if (bytes > 0 && std::memcmp(results[0].data(), results[1].data(), bytes) != 0) {
    std::printf("%d: other bits on more threads: %s\n", number, c.describe().c_str());
    return false;
  }
  const double error = compare(c, values, factors, results[0], random);
  if (error <= limit) return true;
  std::printf("%d: error %.1e over %.0e, %zu bytes a number: %s\n", number, error, limit, sizeof(Storage),
              c.describe().c_str());
  return false;
}

// Whether the tables that are predicted are those that the plan has.
template <typename Real>
bool check_bytes(const FourierSpec& spec, bool is_long, int64_t lanes) {
  if (is_long && spec.points() < 256) return true;  // no line that short is cut
  const auto plan = plan_fourier<Real>(spec, is_long, lanes);
  const ComplexDft<Real>& dft = plan->dft;
  const size_t reals = plan->chirp.size() + (plan->has_chirp() ? static_cast<size_t>(2 * dft.points()) : 0) +
                       dft.roots.size() + dft.row_roots.size() + dft.block_roots.size() + dft.lane_roots.size() +
                       plan->real_roots.size();
  const size_t bytes = reals * sizeof(Real) + (dft.places.size() + plan->places.size()) * sizeof(int32_t) +
                       (dft.line.roots.size() + dft.row_line.roots.size()) * sizeof(double);
  const double told = count_fourier_bytes(spec, is_long, lanes, sizeof(Real)).tables;
  if (told == static_cast<double>(bytes)) return true;
  std::printf("%lld points, %s: %.0f bytes told, %zu taken\n", static_cast<long long>(spec.length),
              is_long ? "long" : "short", told, bytes);
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  const int cases = argc > 1 ? std::atoi(argv[1]) : 100;
  const unsigned seed = argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 20260101;
  const char* isa = nullptr;
  try {
    isa = isa_name();
  } catch (const std::runtime_error& error) {
    std::printf("%s\n", error.what());
    return 2;
  }
  Random random(seed);
  int failed = 0;
  for (int number = 0; number < cases; ++number) {
    const Case c = draw_case(random);
    const bool passed = number % 4 == 0   ? check<double>(number, c, DType::kFloat64, 1e-14, random)
                        : number % 4 == 1 ? check<Half>(number, c, DType::kFloat16, 1e-3, random)
                                          : check<float>(number, c, DType::kFloat32, 5e-7, random);
    const int64_t lanes = pick(random, 2, 16);
    const bool is_counted =
        check_bytes<float>(c.spec, pick(random, 0, 1), lanes) && check_bytes<double>(c.spec, pick(random, 0, 1), lanes);
    if (!passed || !is_counted) ++failed;
  }
  std::printf("%s, seed %u: %d transforms, %d failed\n", isa, seed, cases, failed);
  return failed > 0;
}
