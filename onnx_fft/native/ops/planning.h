// What the library tells a planner outside: plain C, stable. onnx_fft/native/planning.py has the same layouts.
#pragma once

#include <cstdint>

extern "C" {

// One convolution of known shape; axes from `rank` on are ignored. Channels are those of all groups.
struct OnnxFftConv {
  int64_t rank, group, batch, in_channels, out_channels;
  int64_t extents[3], kernel[3], strides[3], dilations[3], pads_begin[3], pads_end[3];
  int64_t element_bytes;  // 2, 4 or 8
  int64_t vector_bytes;   // 64, 32 or 16; 0 for those of the instruction set in use
  int64_t basis_length;   // of the DFT whose windowed basis the weights are, as OnnxFftBasisLength finds it; else 0
};

// One transposed convolution: what `conv` says, its pads those that crop the output.
struct OnnxFftConvTranspose {
  OnnxFftConv conv;  // basis_length: of weights [in_channels, *kernel] of one output channel a group
  int64_t output_padding[3];
};

// DFTs of lines, [outer, samples, inner, parts]; of an STFT the frames are the lines.
struct OnnxFftDft {
  int64_t length, parts, inverse, onesided;
  int64_t outer, inner, samples;
  int64_t element_bytes, vector_bytes;  // as above
};

// Predicted seconds are those of one core.
struct OnnxFftPrediction {
  double seconds;         // of this library's own way
  double kernel_seconds;  // of ONNX Runtime's Conv, called from within a node of ours
  double model_seconds;   // of the Conv in a model
  double border_seconds;  // what a node in its place costs neighbours in the blocked layout
  double weight_bytes;    // that are kept for the weights
  double scratch_bytes;   // that a run takes beside the tensors, with its weights
  double flops;           // of this library's transforms, products and taps
  double work[32];        // of this library, in units as OnnxFftUnitName names them
  char plan[128];         // in words
};
}
