// What ONNX Runtime's own Conv does for the same convolution.
#pragma once

#include "planner/conv.h"
#include "planner/work.h"

namespace onnx_fft {

// A convolution of known shape. `in_channels` are those of a group, `out_channels` all; shapes are [rank + 2].
struct ConvShape {
  const ConvAttributes& attributes;
  const int64_t* x;
  const int64_t* y;
  int64_t in_channels, out_channels;
};

// Whether a model's Conv runs in the blocked layout (NCHWc), with blocks of `lanes` channels: only in two dimensions,
// and if its channels fill the blocks well enough.
bool is_blocked(const ConvShape& shape, int lanes);

// Of the Conv in a model, which may be blocked, or of the kernel that a node of ours calls, which unfolds (im2col).
Work count_model_conv(const ConvShape& shape, int lanes);
Work count_kernel_conv(const ConvShape& shape);

// Of its ConvTranspose, which is the same in a model and within a node: a product whose every result is then added to
// an output (col2im). `in_channels` of `shape` are those of a group.
Work count_transposed_conv(const ConvShape& shape);

}  // namespace onnx_fft
