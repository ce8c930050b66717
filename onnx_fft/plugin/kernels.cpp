// The kernels of one instruction set: compiled once for each, with ONNX_FFT_ISA its name.
#include "kernels.h"

#include "frame.h"
#include "product.h"
#include "tile.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

template <typename Real, typename Storage>
void forward(const TilePlan& plan, const Source& source, Real* scratch, Real* spectrum, int64_t bin_stride) {
  Tile<Real> tile(plan, scratch);
  load_tile<Real, Storage>(plan, source, tile);
  tile.forward(spectrum, bin_stride);
}

template <typename Real, typename Storage>
void inverse(const TilePlan& plan, const Real* spectrum, int64_t bin_stride, Real* scratch, const Sink& sink) {
  Tile<Real> tile(plan, scratch);
  mark_outputs(plan, sink, tile);
  tile.inverse(spectrum, bin_stride);
  store_tile<Real, Storage>(plan, sink, tile);
}

template <typename Real, typename Storage>
void convolve(const TilePlan& plan, const Source& source, Factor<Real> factor, Real* scratch, const Sink& sink) {
  constexpr int L = kLanes<Real>;
  Tile<Real> tile(plan, scratch);
  load_tile<Real, Storage>(plan, source, tile);
  tile.filter([&] { mark_outputs(plan, sink, tile); },
              [&](int64_t first, int64_t count, Real* numbers) {
                const Real* bins = factor.bins + first * 2 * L;
                for (int64_t n = 0; n < count; ++n, numbers += 2 * L, bins += 2 * L) {
                  if (factor.lane < 0) {
                    prefetch<false>(bins + count * 2 * L);
                    prefetch<false>(bins + count * 2 * L + L);
                  }
                  Vec<Real> re = load(bins), im = load(bins + L);
                  if (factor.lane >= 0) {
                    re = broadcast(bins[factor.lane]);
                    im = broadcast(bins[factor.lane + L]);
                  }
                  const Complex<Real> x = Line<Real>{numbers}.get(0);
                  Line<Real>{numbers}.put(0, {x.re * re - x.im * im, x.im * re + x.re * im});
                }
              });
  store_tile<Real, Storage>(plan, sink, tile);
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

extern const KernelTable table;
const KernelTable table = {
    ONNX_FFT_NAME(ONNX_FFT_ISA),
    ONNX_FFT_VECTOR_BYTES,
    {forward<float, Half>, inverse<float, Half>, convolve<float, Half>},
    {forward<float, float>, inverse<float, float>, convolve<float, float>},
    {forward<double, double>, inverse<double, double>, convolve<double, double>},
    {transform_weights<float>, multiply<float>},
    {transform_weights<double>, multiply<double>},
};

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
