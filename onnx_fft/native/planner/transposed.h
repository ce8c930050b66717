// A transposed convolution as a convolution of stride 1.
//
// Along an axis with stride s, dilation d and taps w[k], sample i of the input adds x[i] w[k] to sample s i + d k of
// the full output, of which the pads crop both ends. With h[d k] = w[k], and zeros between, the samples s u + r of one
// residue r are
//
//     y[s u + r] = sum over j of x[u - j] h[s j + r]
//
// which is a convolution of stride 1, its taps in reverse. Those of all residues are one, of as many times the output
// channels; its outputs are interleaved then. With a stride of 1 the dilation stays what it is, and nothing is
// interleaved.
#pragma once

#include <cstdint>
#include <vector>

#include "planner/conv.h"
#include "planner/work.h"

namespace onnx_fft {

// ConvTranspose's attributes. `conv` holds those that Conv has as well; its pads are positive and crop.
struct TransposedAttributes {
  ConvAttributes conv;
  int64_t output_padding[kMaxRank] = {0, 0, 0};

  int64_t residues() const;  // of all axes together
};

// The convolution that it equals. Its output channel c * residues + r is residue r of channel c, where the last axis
// counts fastest.
ConvAttributes equal_conv(const TransposedAttributes& attributes);

// Weights of that convolution, `in_channels` of a group: with zeros where a residue has no tap. A double, because
// attributes may be of any size.
double count_weights(const TransposedAttributes& attributes, int64_t out_channels, int64_t in_channels);

// Whether they are not out of all proportion.
bool has_equal_conv(const TransposedAttributes& attributes, int64_t out_channels, int64_t in_channels);

// [batch, out_channels, *outputs] for an input [rank + 2]. Throws std::invalid_argument with a sentence if there are no
// outputs, or too many for any memory.
std::vector<int64_t> transposed_shape(const TransposedAttributes& attributes, const int64_t* x_shape,
                                      int64_t out_channels);

// The outputs of the equal convolution, of that shape's batch.
std::vector<int64_t> equal_shape(const TransposedAttributes& attributes, const int64_t* y_shape);

// What it takes to interleave them.
Work count_interleave(const TransposedAttributes& attributes, const int64_t* y_shape);

}  // namespace onnx_fft
