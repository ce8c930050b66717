// What a way to compute a convolution does, counted in units, and the seconds that a machine takes for one of each.
#pragma once

namespace onnx_fft {

enum Unit {
  // of this library
  kTransformFlops,    // 2.5 T log2 T for a real DFT of T points, each lane of a vector
  kProductFlops,      // 8 for a product of two bins
  kDirectFlops,       // of tiles that are summed tap by tap
  kDirectSamples,     // that those tiles load and store
  kBytes,             // of spectra and tensors that pass through memory
  kScatteredSamples,  // that do not lie side by side in the input
  kTiles,             // vectors of tiles
  kCalls,
  // of its dense engine: cycles of one vector, of whatever length, for what dense_plan.cpp counts
  kDenseTransforms,
  kDenseProducts,
  kDenseBytes,  // of weights that are read
  // of ONNX Runtime's Conv
  kBlockedFlops,     // in the blocked layout (NCHWc), idle lanes and filters counted
  kBlockedBytes,     // of tensors that are brought into that layout and back
  kDepthwiseFlops,   // in the blocked layout
  kGemmFlops,        // of the product with the unfolded input (im2col)
  kUnfolded,         // elements of that
  kUnfoldedStrided,  // the same, if a stride scatters the reads
  kConvCalls,
  kUnits
};

// As profiles name them.
constexpr const char* kUnitNames[kUnits] = {"transform_flops",
                                            "product_flops",
                                            "direct_flops",
                                            "direct_samples",
                                            "bytes",
                                            "scattered",
                                            "tiles",
                                            "calls",
                                            "dense_transforms",
                                            "dense_products",
                                            "dense_bytes",
                                            "blocked_flops",
                                            "blocked_bytes",
                                            "depthwise_flops",
                                            "gemm_flops",
                                            "unfolded",
                                            "unfolded_strided",
                                            "conv_calls"};

struct Work {
  double of[kUnits] = {};
};

// Seconds of one core for one of each unit.
struct Rates {
  double of[kUnits] = {};

  double seconds(const Work& work) const {
    double sum = 0;
    for (int unit = 0; unit < kUnits; ++unit) sum += work.of[unit] * of[unit];
    return sum;
  }
};

}  // namespace onnx_fft
