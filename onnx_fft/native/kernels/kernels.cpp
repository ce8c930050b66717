// The kernels of one instruction set: this file is compiled once for each, with ONNX_FFT_ISA its name.
#include "kernels/kernels.h"

#include "kernels/direct_tile.h"
#include "kernels/epilogue.h"
#include "kernels/fourier_lines.h"
#include "kernels/frame.h"
#include "kernels/product.h"
#include "kernels/tile.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

template <typename Real, typename Storage>
void forward(const TilePlan& plan, const InputPlanes& input, Real* scratch, Real* spectrum, int64_t bin_stride) {
  Tile<Real> tile(plan, scratch);
  load_tile<Real, Storage>(plan, input, tile);
  tile.forward(spectrum, bin_stride);
}

template <typename Real, typename Storage>
void inverse(const TilePlan& plan, const Real* spectrum, int64_t bin_stride, Real* scratch,
             const OutputPlanes<Real>& output) {
  Tile<Real> tile(plan, scratch);
  mark_outputs(plan, output, tile);
  tile.inverse(spectrum, bin_stride);
  store_tile<Real, Storage>(plan, output, tile);
}

// Multiplies bins by those of the weights, and prefetches the weights of the next line.
template <typename Real>
ONNX_FFT_INLINE void multiply_bins(Factor<Real> factor, int64_t first, int64_t count, Real* values) {
  constexpr int L = kLanes<Real>;
  const Real* bins = factor.values + first * 2 * L;
  const Line<Real> line{values};
  for (int64_t n = 0; n < count; ++n, bins += 2 * L) {
    Vec<Real> re = load(bins), im = load(bins + L);
    if (factor.lane >= 0) {
      re = broadcast(bins[factor.lane]);
      im = broadcast(bins[factor.lane + L]);
    }
    prefetch<false>(bins, count * 2 * L);
    prefetch<false>(bins, count * 2 * L + L);
    const Complex<Real> x = line.get(n);
    line.put(n, {x.re * re - x.im * im, x.im * re + x.re * im});
  }
}

template <typename Real, typename Storage>
void convolve(const TilePlan& plan, const InputPlanes& input, Factor<Real> factor, Real* scratch,
              const OutputPlanes<Real>& output) {
  if (plan.is_direct()) {
    DirectTile<Real> tile(plan, scratch);
    load_tile<Real, Storage>(plan, input, tile);
    tile.convolve(output.outputs, factor);
    return store_tile<Real, Storage>(plan, output, tile);
  }
  Tile<Real> tile(plan, scratch);
  load_tile<Real, Storage>(plan, input, tile);
  tile.filter([&] { mark_outputs(plan, output, tile); },
              [&](int64_t first, int64_t count, Real* values) { multiply_bins(factor, first, count, values); });
  store_tile<Real, Storage>(plan, output, tile);
}

template <typename Real, typename Storage>
void finish_sums(const Epilogue<Real>& epilogue, int64_t channel, void* y, const void* residual, int64_t count) {
  constexpr int L = kLanes<Real>;
  Storage* sums = static_cast<Storage*>(y);
  const Storage* addends = epilogue.residual != nullptr ? static_cast<const Storage*>(residual) : sums;
  for (int64_t first = 0; first < count; first += L) {
    const int64_t rest = count - first < L ? count - first : L;
    store_finished<Real>(epilogue, channel, load_values<Real>(sums + first, rest), sums + first, addends + first, rest);
  }
}

// One output of all frames, finished; of `Biased` ones a bias is all that is added, if there is one.
template <bool Biased, typename Real>
ONNX_FFT_INLINE Vec<Real> make_row(const BinOutput<Real>& output, const Real* bins, int64_t row, Vec<Real> residual) {
  const auto part = [&](int64_t of) __attribute__((always_inline)) {
    const Vec<Real> sums = load(bins + output.rows[of].position) * output.rows[of].scale;
    if constexpr (!Biased) return finish<Real>(*output.epilogue, output.channel + of, sums, residual);
    const Real* const bias = output.epilogue->bias;
    return bias != nullptr ? sums + bias[output.channel + of] : sums;
  };
  return output.form == BinForm::kParts ? part(row)
                                        : join_parts<Real>(output.form, part(row), part(row + output.count));
}

template <bool Biased, typename Real, typename Storage>
void store_frames(const BinOutput<Real>& output, const Real* bins, int frames) {
  Storage* y = static_cast<Storage*>(output.y);
  const bool adds = output.epilogue->residual != nullptr;
  const Storage* residual = adds ? static_cast<const Storage*>(output.residual) : y;
  for (int64_t row = 0; row < output.count; ++row, y += output.row_step, residual += output.row_step) {
    prefetch<true>(y, kLanes<Real>);  // where the next frames' outputs go
    const Vec<Real> addend = adds ? load_values<Real>(residual, frames) : Vec<Real>{};
    store_values<Real>(y, make_row<Biased>(output, bins, row, addend), frames);
  }
}

// What is added to rows [first, first + count), which lie side by side; zeros if nothing is.
template <typename Real, typename Storage>
void load_residual(const BinOutput<Real>& output, int frames, int64_t first, int64_t count,
                   Vec<Real> (&block)[kLanes<Real>]) {
  const Storage* const residual = static_cast<const Storage*>(output.residual);
  const bool adds = output.epilogue->residual != nullptr;
  for (int frame = 0; frame < kLanes<Real>; ++frame) {
    const bool is_there = adds && frame < frames;
    block[frame] = is_there ? load_values<Real>(residual + frame * output.frame_step + first, count) : Vec<Real>{};
  }
  if (adds) transpose_samples<Real>(block);
}

// The same as `store_frames`, of up to a vector of rows from `first` on, which lie side by side.
template <bool Biased, typename Real, typename Storage>
void store_rows_apart(const BinOutput<Real>& output, const Real* bins, int frames, int64_t first) {
  constexpr int L = kLanes<Real>;
  const int64_t count = clamp(output.count - first, 0, L);
  Vec<Real> block[L];
  if (Biased && count == L) {
    unroll<L>(ONNX_FFT_STEP(i) { block[i] = make_row<Biased>(output, bins, first + i, Vec<Real>{}); });
  } else {
    load_residual<Real, Storage>(output, frames, first, count, block);
    for (int i = 0; i < count; ++i) block[i] = make_row<Biased>(output, bins, first + i, block[i]);
  }
  transpose_samples<Real>(block);
  Storage* const y = static_cast<Storage*>(output.y) + first;
  for (int frame = 0; frame < frames; ++frame) {
    prefetch<true>(y, (frame + L) * output.frame_step);
    store_values<Real>(y + frame * output.frame_step, block[frame], count);
  }
}

template <bool Biased, typename Real, typename Storage>
void store_outputs(const BinOutput<Real>& output, const Real* bins, int frames) {
  if (output.frame_step == 1) return store_frames<Biased, Real, Storage>(output, bins, frames);
  for (int64_t first = 0; first < output.count; first += kLanes<Real>) {
    store_rows_apart<Biased, Real, Storage>(output, bins, frames, first);
  }
}

template <typename Real, typename Storage>
void transform_frames(const FourierPlan<Real>& plan, const FourierLines<Real>& lines, Real* scratch,
                      const BinOutput<Real>& output) {
  load_lines(plan, lines, scratch);
  transform_values(plan, scratch);
  const Epilogue<Real>& e = *output.epilogue;
  const bool is_biased = e.residual == nullptr && e.scale == nullptr && e.activation.kind == ActivationKind::kNone;
  is_biased ? store_outputs<true, Real, Storage>(output, scratch, lines.count)
            : store_outputs<false, Real, Storage>(output, scratch, lines.count);
}

template <typename Real>
void transform_weights(const TilePlan& plan, Real scale, Real* scratch, Real* spectrum, int64_t bin_stride) {
  Tile<Real> tile(plan, scratch);
  tile.mark_all();
  tile.forward(spectrum, bin_stride);
  for (size_t bin = 0; bin < plan.bins; ++bin, spectrum += bin_stride) {
    store(spectrum, load(spectrum) * scale);
    store(spectrum + kLanes<Real>, load(spectrum + kLanes<Real>) * -scale);
  }
}

#define ONNX_FFT_STRINGIZE(name) #name
#define ONNX_FFT_NAME(name) ONNX_FFT_STRINGIZE(name)

extern const DenseTable dense_table;
extern const FourierTable fourier_table;
extern const TransposedTable transposed_table;
extern const KernelTable table;
const KernelTable table = {
    ONNX_FFT_NAME(ONNX_FFT_ISA),
    ONNX_FFT_VECTOR_BYTES,
    {forward<float, Half>, inverse<float, Half>, convolve<float, Half>, finish_sums<float, Half>,
     transform_frames<float, Half>},
    {forward<float, float>, inverse<float, float>, convolve<float, float>, finish_sums<float, float>,
     transform_frames<float, float>},
    {forward<double, double>, inverse<double, double>, convolve<double, double>, finish_sums<double, double>,
     transform_frames<double, double>},
    {transform_weights<float>, multiply<float>},
    {transform_weights<double>, multiply<double>},
    &dense_table,
    &fourier_table,
    &transposed_table,
};

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
