// Rows of a dense segment: from a tensor, a channel each, to a buffer of one vector of channels a sample, and back.
//
// A vector is made of parts of 16 bytes, Q elements each. Q samples of all channels are loaded part by part, so that
// what is left is to transpose Q x Q elements within each part; outputs are transposed within parts first, and then the
// parts themselves.
#pragma once

#include "kernels/dense.h"
#include "kernels/frame.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

template <typename Real>
struct PartOf {
  typedef Real type __attribute__((vector_size(16)));
};

template <typename Real>
using Part = typename PartOf<Real>::type;

template <typename Real>
constexpr int kPartSize = 16 / sizeof(Real);
template <typename Real>
constexpr int kParts = kLanes<Real> / kPartSize<Real>;

template <typename V, int... I>
ONNX_FFT_INLINE auto join(V a, V b, Indices<I...>) {
  return __builtin_shufflevector(a, b, I...);
}

// Parts `step` apart, side by side in one vector.
template <typename Real>
ONNX_FFT_INLINE Vec<Real> join_parts(const Part<Real>* parts, int step) {
  if constexpr (kParts<Real> == 1) {
    return parts[0];
  } else {
    typedef typename CountUp<2 * kPartSize<Real>>::type Two;
    const auto low = join(parts[0], parts[step], Two{});
    if constexpr (kParts<Real> == 2) {
      return low;
    } else {
      const auto high = join(parts[2 * step], parts[3 * step], Two{});
      return join(low, high, typename CountUp<4 * kPartSize<Real>>::type{});
    }
  }
}

// The lower or the upper halves of the parts of a and b, their elements interleaved.
template <bool Upper, typename Real, int... I>
ONNX_FFT_INLINE Vec<Real> interleave_within(Vec<Real> a, Vec<Real> b, Indices<I...>) {
  constexpr int L = kLanes<Real>, Q = kPartSize<Real>;
  return __builtin_shufflevector(a, b, (I / Q * Q + (Upper ? Q / 2 : 0) + I % Q / 2 + I % 2 * L)...);
}

// Every other part of a and b.
template <bool Odd, typename Real, int... I>
ONNX_FFT_INLINE Vec<Real> every_other_part(Vec<Real> a, Vec<Real> b, Indices<I...>) {
  constexpr int Q = kPartSize<Real>;
  return __builtin_shufflevector(a, b, ((I / Q * 2 + (Odd ? 1 : 0)) * Q + I % Q)...);
}

template <typename Real>
ONNX_FFT_INLINE void transpose_within_parts(Vec<Real>* rows) {
  constexpr int Q = kPartSize<Real>;
  typedef typename CountUp<kLanes<Real>>::type All;
  ONNX_FFT_UNROLL
  for (int round = 1; round < Q; round *= 2) {
    Vec<Real> next[Q];
    ONNX_FFT_UNROLL
    for (int i = 0; i < Q / 2; ++i) {
      next[2 * i] = interleave_within<false, Real>(rows[i], rows[i + Q / 2], All{});
      next[2 * i + 1] = interleave_within<true, Real>(rows[i], rows[i + Q / 2], All{});
    }
    ONNX_FFT_UNROLL
    for (int i = 0; i < Q; ++i) rows[i] = next[i];
  }
}

// Vectors of channels, one a sample -> vectors of samples, one a channel.
template <typename Real>
ONNX_FFT_INLINE void transpose_samples(Vec<Real> (&rows)[kLanes<Real>]) {
  constexpr int Q = kPartSize<Real>, P = kParts<Real>;
  typedef typename CountUp<kLanes<Real>>::type All;
  unroll<P>(ONNX_FFT_STEP(group) { transpose_within_parts<Real>(rows + group * Q); });
  unroll<Q>(ONNX_FFT_STEP(j) {  // part m of rows[g Q + j]: samples g Q and following of channel m Q + j
    Vec<Real> in[P], out[P];
    unroll<P>(ONNX_FFT_STEP(group) { in[group] = rows[group * Q + j]; });
    if constexpr (P == 1) {
      out[0] = in[0];
    } else if constexpr (P == 2) {
      out[0] = every_other_part<false, Real>(in[0], in[1], All{});
      out[1] = every_other_part<true, Real>(in[0], in[1], All{});
    } else {
      const Vec<Real> a = every_other_part<false, Real>(in[0], in[1], All{}),
                      b = every_other_part<true, Real>(in[0], in[1], All{}),
                      c = every_other_part<false, Real>(in[2], in[3], All{}),
                      d = every_other_part<true, Real>(in[2], in[3], All{});
      out[0] = every_other_part<false, Real>(a, c, All{});
      out[1] = every_other_part<false, Real>(b, d, All{});
      out[2] = every_other_part<true, Real>(a, c, All{});
      out[3] = every_other_part<true, Real>(b, d, All{});
    }
    unroll<P>(ONNX_FFT_STEP(m) { rows[m * Q + j] = out[m]; });
  });
}

ONNX_FFT_INLINE Part<float> load_part(const float* p) {
  Part<float> part;
  __builtin_memcpy(&part, p, sizeof part);
  return part;
}

ONNX_FFT_INLINE Part<double> load_part(const double* p) {
  Part<double> part;
  __builtin_memcpy(&part, p, sizeof part);
  return part;
}

// As `widen` in half.h does it, four at a time.
ONNX_FFT_INLINE Part<float> load_part(const Half* p) {
  typedef uint16_t Halves __attribute__((vector_size(8)));
  typedef uint32_t Words __attribute__((vector_size(16)));
  Halves halves;
  __builtin_memcpy(&halves, p, sizeof halves);
  const Words bits = __builtin_convertvector(halves, Words);
  const Words sign = (bits & 0x8000u) << 16, magnitude = (bits & 0x7fffu) << 13;
  const Words special = (Words)(magnitude >= 0x0f800000u) & 0x7f800000u;  // infinity, NaN
  const Words finite = (Words)((Part<float>)magnitude * 0x1p112f) & (Words)(magnitude < 0x0f800000u);
  return (Part<float>)(sign | finite | special | (magnitude & (Words)(magnitude >= 0x0f800000u)));
}

// Samples of a row that are prefetched at once: a line of the cache, where they are floats.
constexpr int64_t kRowLine = 16;

// Reads the rows of a segment. Samples outside the tensor are zero.
template <typename Real, typename Storage>
class RowReader {
 public:
  RowReader(const DenseSegment& segment, const void* x, Real* buffer)
      : x_(static_cast<const Storage*>(x)), buffer_(buffer), extent_(segment.extent[2]), origin_(segment.origin[2]) {
    begin_ = clamp(origin_, 0, extent_);
    end_ = clamp(origin_ + segment.span, begin_, extent_);
    for (int lane = 0; lane < kLanes<Real>; ++lane) {  // idle lanes read what is there: nobody reads them
      offset_[lane] = (lane < segment.channels ? lane : segment.channels - 1) * segment.plane;
    }
    for (int64_t i = 0; i < segment.span; ++i) {
      if (origin_ + i < begin_ || origin_ + i >= end_) store(buffer_ + i * kLanes<Real>, Vec<Real>{});
    }
  }

  // The row that lies `offset` after the plane's first sample. The one that lies `ahead` of it is read soon: channels
  // are streams of memory of their own, too many and too short for the hardware to foresee.
  ONNX_FFT_INLINE void read(int64_t offset, int64_t ahead) {
    constexpr int Q = kPartSize<Real>;
    const Storage* row = x_ + offset;
    int64_t at = begin_;
    if (extent_ >= Q) {
      for (; at + Q <= extent_ && at < end_; at += Q) {
        if ((at - begin_) % kRowLine == 0) {
          unroll<kLanes<Real>>(ONNX_FFT_STEP(lane) { prefetch<false>(row, offset_[lane] + at + ahead); });
        }
        read_part(row, at);
      }
      if (at < end_) read_part(row, at = extent_ - Q);
    } else {
      for (; at < end_; ++at) {
        for (int lane = 0; lane < kLanes<Real>; ++lane) {
          buffer_[(at - origin_) * kLanes<Real> + lane] = widen(row[offset_[lane] + at]);
        }
      }
    }
  }

 private:
  // The last part of a row may begin before the segment does.
  ONNX_FFT_INLINE void read_part(const Storage* row, int64_t at) {
    constexpr int Q = kPartSize<Real>, P = kParts<Real>, L = kLanes<Real>;
    Vec<Real> samples[Q];
    unroll<Q>(ONNX_FFT_STEP(j) {
      Part<Real> parts[P];
      unroll<P>(ONNX_FFT_STEP(m) { parts[m] = load_part(row + offset_[m * Q + j] + at); });
      samples[j] = join_parts<Real>(parts, 1);
    });
    transpose_within_parts<Real>(samples);
    if (at >= origin_) {
      unroll<Q>(ONNX_FFT_STEP(j) { store(buffer_ + (at + j - origin_) * L, samples[j]); });
    } else {
      unroll<Q>(ONNX_FFT_STEP(j) {
        if (at + j >= origin_) store(buffer_ + (at + j - origin_) * L, samples[j]);
      });
    }
  }

  const Storage* x_;
  Real* buffer_;
  int64_t extent_, origin_, begin_, end_;
  int64_t offset_[kLanes<Real>];
};

// Writes the rows of a segment. Every output passes through `finish`, as a vector of samples of one channel in the
// order of memory.
template <typename Real, typename Storage>
class RowWriter {
 public:
  RowWriter(const DenseSegment& segment, const DenseFinish<Real>& finish, const Real* buffer, void* y)
      : segment_(segment),
        finish_(finish),
        buffer_(buffer),
        y_(static_cast<Storage*>(y)),
        // of nothing to add, the address is never read
        residual_(finish.residual != nullptr ? static_cast<const Storage*>(finish.residual) : y_) {
    width_ = clamp(segment.extent[2] - segment.origin[2], 0, segment.span);
  }

  // `ahead`: as for the reader.
  ONNX_FFT_INLINE void write(int64_t offset, int64_t ahead) const {
    constexpr int L = kLanes<Real>;
    const int64_t row = offset + segment_.origin[2];
    int64_t at = 0;
    for (; at + L <= width_; at += L) write_block(row, at, L, ahead);
    if (at == width_) return;
    if (width_ >= L) return write_block(row, width_ - L, L, ahead);  // some outputs once more
    write_block(row, at, width_ - at, ahead);
  }

 private:
  ONNX_FFT_INLINE void write_block(int64_t row, int64_t at, int64_t count, int64_t ahead) const {
    constexpr int L = kLanes<Real>;
    Vec<Real> block[L];
    unroll<L>(ONNX_FFT_STEP(i) { block[i] = load(buffer_ + (at + i) * L); });
    transpose_samples<Real>(block);
    for (int lane = 0; lane < segment_.channels; ++lane) {
      const int64_t first = row + lane * segment_.plane + at;
      prefetch<true>(y_, first + ahead);
      store_finished<Real>(finish_.epilogue, finish_.channel + lane, block[lane], y_ + first, residual_ + first, count);
    }
  }

  const DenseSegment& segment_;
  const DenseFinish<Real>& finish_;
  const Real* buffer_;
  Storage* y_;
  const Storage* residual_;
  int64_t width_;
};

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
