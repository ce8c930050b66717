// Fits a basis to weights. The window is not known, nor the bins, nor the length:
//
//   1. some rows, the probes, are transformed: the peak of a row's spectrum lies at bin / length, roughly, whatever
//      the window is;
//   2. of each length for which all these are whole bins, the probes give a window, by least squares;
//   3. with the window, each row is divided by it, which leaves a sine, and shows its bin;
//   4. window and scales are fitted to all rows, and what is left must be rounding.
#include "planner/basis.h"

#include <algorithm>
#include <cmath>

#include "planner/frequency.h"

namespace onnx_fft {
namespace {

constexpr double kPi = 3.14159265358979323846;

constexpr int64_t kLeastTaps = 32, kLeastRows = 8;
constexpr int64_t kLongest = 4;  // DFTs of at most so many times the taps
constexpr int64_t kProbes = 16, kMostTries = 64;
constexpr size_t kLeastProbes = 4;
constexpr double kNearEnds = 6;         // lobes from either end, where a sine's two lobes meet
constexpr double kLeastPeak = 0.02;     // of a row's energy in the peak of its spectrum: no noise of 300 taps has it
constexpr double kOffGrid = 0.1;        // bins of `taps` points that a peak may seem to lie beside its own
constexpr double kVanishing = 0x1p-36;  // of the largest weight: a sine that is zero at every tap, but for rounding
constexpr double kReliable = 0.05;      // of the window: taps that tell what a row is
constexpr double kFew = 0.5, kNone = 1e-9;  // sum of the squared sines at a tap from which a window follows
constexpr int kRounds = 12;                 // of least squares at most, for the window and for the scales in turn
constexpr double kSettled = 0.25;           // of the tolerance: a scale that changes by less
constexpr double kNoBasis = 1e-5;           // of the probes, left of them by a fit for a wrong length

// The errors that rounding leaves: of one weight and of all together.
struct Tolerance {
  double one, all;
};

// float16 is what others were rounded to, once, and the window is known the worse the fewer rows tell it; float32 may
// be a product that was rounded several times; in float64 our own sums count.
Tolerance tolerance_of(DType stored, int64_t rows) {
  if (stored == DType::kFloat16) return {(1.3 + 4 / std::sqrt(double(rows))) * 0x1p-11, 0.75 * 0x1p-11};
  return stored == DType::kFloat32 ? Tolerance{4 * 0x1p-24, 2 * 0x1p-24} : Tolerance{512 * 0x1p-53, 64 * 0x1p-53};
}

// The least weight that an error is judged by, in parts of its row's scale; and what float16 cannot store at all.
constexpr double kLeastPart = 0.25, kLeastHalf = 0x1p-25;

bool is_vanishing(const double* row, int64_t taps, double largest) {
  return std::all_of(row, row + taps, [&](double weight) { return std::abs(weight) <= kVanishing * largest; });
}

// The fit for one length.
class Fit {
 public:
  Fit(const double* weights, int64_t rows, int64_t taps, DType stored, int64_t length, double largest)
      : weights_(weights),
        rows_(rows),
        taps_(taps),
        stored_(stored),
        tolerance_(tolerance_of(stored, rows)),
        length_(length),
        largest_(largest) {
    basis_.length = length;
    basis_.rows.resize(static_cast<size_t>(rows));
    for (int64_t k = 0; k < length; ++k) {
      cosines_.push_back(std::cos(2 * kPi * double(k) / double(length)));
      minus_sines_.push_back(-std::sin(2 * kPi * double(k) / double(length)));
    }
  }

  // Whether there is a window that makes sines of the rows `probes`, of these frequencies.
  bool fit_probes(const std::vector<int64_t>& probes, const std::vector<double>& frequencies) {
    basis_.window.assign(static_cast<size_t>(taps_), 1);
    known_.assign(static_cast<size_t>(taps_), true);
    for (size_t i = 0; i < probes.size(); ++i) assign(probes[i], std::lround(frequencies[i] * double(length_)), 0);
    return alternate(probes) && error_of(probes) <= std::max(kNoBasis, 2 * tolerance_.all);
  }

  // After that: whether all rows are.
  bool fit_all() {
    std::vector<int64_t> all;
    for (int64_t row = 0; row < rows_; ++row) all.push_back(row);
    for (const int64_t row : all) assign(row, find_bin(row), 1);
    if (!alternate(all)) return false;
    for (const int64_t row : all) {
      if (is_exact(row)) continue;
      if (!is_vanishing(weights_ + row * taps_, taps_, largest_)) return false;
      basis_.rows[static_cast<size_t>(row)] = {};
    }
    return error_of(all) <= tolerance_.all;
  }

  const WindowedBasis& basis() const { return basis_; }

 private:
  const double* row_of(int64_t row) const { return weights_ + row * taps_; }

  // The sine of a row at each tap, neither scaled nor windowed.
  template <typename Body>
  void each_tap(int64_t bin, bool is_imaginary, const Body& body) const {
    const std::vector<double>& wave = is_imaginary ? minus_sines_ : cosines_;
    for (int64_t k = 0, at = 0; k < taps_; ++k) {
      body(static_cast<size_t>(k), wave[static_cast<size_t>(at)]);
      at += bin;
      if (at >= length_) at -= length_;
    }
  }

  // The scale that fits best, and the share of the row that it explains.
  struct Match {
    double scale = 0, share = 0;
  };

  Match match(int64_t row, int64_t bin, bool is_imaginary) const {
    const double* values = row_of(row);
    double product = 0, norm = 0;
    each_tap(bin, is_imaginary, [&](size_t k, double wave) {
      if (!known_[k]) return;
      const double model = basis_.window[k] * wave;
      product += model * values[k];
      norm += model * model;
    });
    return norm > kNone * double(taps_) ? Match{product / norm, product * product / norm} : Match{};
  }

  // The best bin at most `around` from `bin`.
  void assign(int64_t row, int64_t bin, int64_t around) {
    double best = 0;
    for (int64_t near = std::max<int64_t>(0, bin - around); near <= std::min(length_ / 2, bin + around); ++near) {
      for (const bool is_imaginary : {false, true}) {
        const Match found = match(row, near, is_imaginary);
        if (found.share <= best) continue;
        best = found.share;
        basis_.rows[static_cast<size_t>(row)] = {near, is_imaginary, found.scale};
      }
    }
  }

  // Of a sine t at three taps in a row, t[k - 1] + t[k + 1] = 2 cos(angle) t[k].
  int64_t find_bin(int64_t row) const {
    const double* values = row_of(row);
    double product = 0, norm = 0;
    for (size_t k = 1; k + 1 < static_cast<size_t>(taps_); ++k) {
      if (!known_[k - 1] || !known_[k] || !known_[k + 1]) continue;
      const double before = values[k - 1] / basis_.window[k - 1], at = values[k] / basis_.window[k],
                   after = values[k + 1] / basis_.window[k + 1];
      product += at * (before + after);
      norm += 2 * at * at;
    }
    if (!(norm > 0)) return 0;
    const double angle = std::acos(std::clamp(product / norm, -1.0, 1.0));
    return std::lround(angle / (2 * kPi) * double(length_));
  }

  // Fits the window and the scales of `rows` to each other; false if no window is left.
  bool alternate(const std::vector<int64_t>& rows) {
    for (int round = 0; round < kRounds; ++round) {
      if (!fit_window(rows)) return false;
      double change = 0;
      for (const int64_t row : rows) {
        BasisRow& fitted = basis_.rows[static_cast<size_t>(row)];
        const double before = fitted.scale;
        fitted.scale = match(row, fitted.bin, fitted.is_imaginary).scale;
        if (fitted.scale != 0) change = std::max(change, std::abs(fitted.scale - before) / std::abs(fitted.scale));
      }
      if (round > 0 && change <= kSettled * tolerance_.all) break;
    }
    return true;
  }

  // Every row counts as much, whatever its scale. Taps at which all sines are small are not known.
  bool fit_window(const std::vector<int64_t>& rows) {
    std::vector<double> products(static_cast<size_t>(taps_)), norms(static_cast<size_t>(taps_));
    for (const int64_t row : rows) {
      const BasisRow& fitted = basis_.rows[static_cast<size_t>(row)];
      if (std::abs(fitted.scale) <= kVanishing * largest_) continue;
      const double* values = row_of(row);
      each_tap(fitted.bin, fitted.is_imaginary, [&](size_t k, double wave) {
        products[k] += wave * values[k] / fitted.scale;
        norms[k] += wave * wave;
      });
    }
    double highest = 0;
    for (size_t k = 0; k < products.size(); ++k) {
      basis_.window[k] = norms[k] > kNone ? products[k] / norms[k] : 0;
      if (norms[k] > kFew) highest = std::max(highest, std::abs(basis_.window[k]));
    }
    if (!(highest > 0) || !std::isfinite(highest)) return false;
    for (size_t k = 0; k < products.size(); ++k) {
      basis_.window[k] /= highest;
      known_[k] = norms[k] > kFew && std::abs(basis_.window[k]) > kReliable;
    }
    return true;
  }

  // What the fit leaves of rows, in parts of them. It is nothing of those that count as zeros.
  double error_of(const std::vector<int64_t>& rows) const {
    double left = 0, all = 0;
    for (const int64_t row : rows) {
      const BasisRow& fitted = basis_.rows[static_cast<size_t>(row)];
      if (fitted.scale == 0) continue;
      const double* values = row_of(row);
      each_tap(fitted.bin, fitted.is_imaginary, [&](size_t k, double wave) {
        const double error = values[k] - fitted.scale * basis_.window[k] * wave;
        left += error * error;
        all += values[k] * values[k];
      });
    }
    return all > 0 ? std::sqrt(left / all) : 0;
  }

  // Whether each weight of the row is what it should be, but for rounding.
  bool is_exact(int64_t row) const {
    const BasisRow& fitted = basis_.rows[static_cast<size_t>(row)];
    const double* values = row_of(row);
    const double unstored = stored_ == DType::kFloat16 ? kLeastHalf : 0;
    bool fits = true;
    each_tap(fitted.bin, fitted.is_imaginary, [&](size_t k, double wave) {
      const double model = fitted.scale * basis_.window[k] * wave;
      const double size = std::max(std::abs(model), kLeastPart * std::abs(fitted.scale));
      fits &= std::abs(values[k] - model) <= tolerance_.one * size + unstored;
    });
    return fits;
  }

  const double* const weights_;
  const int64_t rows_, taps_;
  const DType stored_;
  const Tolerance tolerance_;
  const int64_t length_;
  const double largest_;
  WindowedBasis basis_;
  std::vector<double> cosines_, minus_sines_;
  std::vector<bool> known_;  // taps that tell what a row is
};

// Rows by which a fit begins, and the frequencies of the sines that they are.
struct Probes {
  std::vector<int64_t> rows;
  std::vector<double> frequencies;
};

// Taps from the first to the last that no row has zeros at: a short window leaves wide lobes in the spectra.
int64_t count_support(const double* weights, int64_t rows, int64_t taps, double largest) {
  int64_t first = taps, last = -1;
  for (int64_t i = 0; i < rows * taps; ++i) {
    if (std::abs(weights[i]) <= kVanishing * largest) continue;
    first = std::min(first, i % taps);
    last = std::max(last, i % taps);
  }
  return std::max<int64_t>(1, last - first + 1);
}

// Rows that are not zeros, as irregularly spread as the multiples of the golden ratio: rows at regular distances may
// have bins in common that say nothing of the others. None if there are too few for a fit to tell anything.
Probes choose_probes(const double* weights, int64_t rows, int64_t taps, double largest) {
  std::vector<int64_t> live;
  for (int64_t row = 0; row < rows; ++row) {
    if (!is_vanishing(weights + row * taps, taps, largest)) live.push_back(row);
  }
  const int64_t count = static_cast<int64_t>(live.size()), tries = std::min(count, kMostTries);
  const double support = double(count_support(weights, rows, taps, largest)), margin = kNearEnds / support;
  Probes probes;
  for (int64_t i = 1; i <= tries && static_cast<int64_t>(probes.rows.size()) < kProbes; ++i) {
    const double part = 0.6180339887498949 * double(i);
    const int64_t row =
        live[static_cast<size_t>(count <= kMostTries ? double(i - 1) : (part - std::floor(part)) * double(count))];
    const double* const values = weights + row * taps;
    double share = 0;
    const double frequency = find_frequency(values, taps, &share);
    if (share * double(taps) < kLeastPeak * support) return {};  // most weights are none, and models have many
    if (frequency < margin || frequency > 0.5 - margin) continue;
    probes.rows.push_back(row);
    probes.frequencies.push_back(frequency);
  }
  return count >= kLeastRows && probes.rows.size() >= kLeastProbes ? probes : Probes{};
}

}  // namespace

bool may_be_basis(const ConvAttributes& attributes, int64_t out_channels, int64_t in_channels) {
  const int64_t* const kernel = attributes.kernel;
  const auto axes = std::count_if(kernel, kernel + attributes.rank, [](int64_t taps) { return taps > 1; });
  const bool has_channels = axes == 0 && attributes.group == 1 && in_channels >= kLeastTaps;
  return ((in_channels == 1 && axes == 1) || has_channels) && out_channels >= kLeastRows;
}

std::shared_ptr<const WindowedBasis> recognize_basis(const double* weights, int64_t rows, int64_t taps, DType stored) {
  if (rows < kLeastRows || taps < kLeastTaps || taps > kLongestBasis) return nullptr;
  double largest = 0;
  for (int64_t i = 0; i < rows * taps; ++i) {
    if (!std::isfinite(weights[i])) return nullptr;
    largest = std::max(largest, std::abs(weights[i]));
  }
  const Probes probes = choose_probes(weights, rows, taps, largest);
  if (probes.rows.empty()) return nullptr;
  for (int64_t length = taps; length <= std::min(kLongest * taps, kLongestBasis); ++length) {
    const double bins = double(length), apart = kOffGrid * bins / double(taps);
    const auto is_bin = [&](double f) { return std::abs(f * bins - std::round(f * bins)) <= apart; };
    if (!std::all_of(probes.frequencies.begin(), probes.frequencies.end(), is_bin)) continue;
    Fit fit(weights, rows, taps, stored, length, largest);
    if (!fit.fit_probes(probes.rows, probes.frequencies)) continue;
    return fit.fit_all() ? std::make_shared<const WindowedBasis>(fit.basis()) : nullptr;
  }
  return nullptr;
}

}  // namespace onnx_fft
