#include "ops/matmul_node.h"

#include <cstring>
#include <stdexcept>

#include "planner/conv.h"
#include "planner/frames.h"

namespace onnx_fft {
namespace {

// A matrix [rows, columns] as [columns, rows].
std::vector<char> transpose_matrix(const void* matrix, int64_t rows, int64_t columns, DType dtype) {
  const size_t bytes = element_bytes(dtype), height = static_cast<size_t>(rows), width = static_cast<size_t>(columns);
  const char* from = static_cast<const char*>(matrix);
  std::vector<char> turned(height * width * bytes);
  for (size_t row = 0; row < height; ++row) {
    for (size_t column = 0; column < width; ++column, from += bytes)
      std::memcpy(turned.data() + (column * height + row) * bytes, from, bytes);
  }
  return turned;
}

// Frames that lie one after the other in one signal.
ConvAttributes frames_of(int64_t taps) {
  ConvAttributes attributes;
  attributes.rank = 1;
  attributes.kernel[0] = attributes.strides[0] = taps;
  return attributes;
}

// Frames that lie side by side, whose taps are channels.
ConvAttributes columns() { return frames_of(1); }

}  // namespace

MatMulNode::MatMulNode(const OrtApi& api, const ort::NodeInfo& node, DType dtype) : api_(api) {
  const OrtValue* weight = node.constant_input(1);
  const OrtValue* const first = node.constant_input(0);
  if (first != nullptr && (weight == nullptr || ort::tensor_shape(api, weight).size() != 2)) {
    weight = first;
    in_columns_ = true;
  }
  if (weight == nullptr) throw std::invalid_argument("got weights that come at run time; expected constant ones");
  const ort::Shape shape = ort::tensor_shape(api, weight);
  if (shape.size() != 2 || shape[0] == 0 || shape[1] == 0) {
    throw std::invalid_argument("got weights of shape " + ort::describe(shape) +
                                "; expected 2 dimensions of at least one");
  }
  const void* const values = ort::tensor_data(api, weight);
  taps_ = shape[in_columns_ ? 1 : 0];
  rows_ = shape[in_columns_ ? 0 : 1];
  if (in_columns_) {
    convolution_ = std::make_unique<const Convolution>(columns(), dtype, rows_, taps_, values);
    return;
  }
  turned_ = transpose_matrix(values, taps_, rows_, dtype);
  convolution_ = std::make_unique<const Convolution>(frames_of(taps_), dtype, rows_, 1, turned_.data(),
                                                     FrameForm{BinForm::kParts, true});
}

void MatMulNode::compute(OrtKernelContext* context) const {
  const OrtValue* x = nullptr;
  ort::check(api_, ort::kernel_context_get_input(api_, context, in_columns_ ? 1 : 0, &x));
  ort::Shape shape = ort::tensor_shape(api_, x);
  const size_t rank = shape.size();
  if (rank == 0 || shape[taps_axis(rank)] != taps_) {
    throw std::invalid_argument("got an input of shape " + ort::describe(shape) + "; expected a last dimension " +
                                (in_columns_ && rank > 1 ? "but one of " : "of ") + std::to_string(taps_));
  }
  const int64_t samples = count_elements(shape.data(), static_cast<int>(rank));
  const int64_t frames = in_columns_ && rank > 1 ? shape.back() : 1;
  shape[taps_axis(rank)] = rows_;
  count_elements(shape.data(), static_cast<int>(rank));
  OrtValue* y = nullptr;
  ort::check(api_, ort::kernel_context_get_output(api_, context, 0, shape.data(), rank, &y));
  if (samples == 0) return;
  const int64_t in_rows[] = {1, 1, samples}, in_columns[] = {samples / taps_ / frames, taps_, frames};
  ort::Pool pool{api_, context};
  convolution_->run(*convolution_->execution_for(in_columns_ ? in_columns : in_rows), ort::tensor_data(api_, x),
                    nullptr, {}, ort::tensor_data(api_, y), pool.executor());
}

}  // namespace onnx_fft
