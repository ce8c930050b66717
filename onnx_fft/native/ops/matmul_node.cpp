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

}  // namespace

MatMulNode::MatMulNode(const OrtApi& api, const ort::NodeInfo& node, DType dtype) : api_(api) {
  const OrtValue* const weight = node.constant_input(kWeight);
  if (weight == nullptr) throw std::invalid_argument("got weights that come at run time; expected constant ones");
  const ort::Shape shape = ort::tensor_shape(api, weight);
  if (shape.size() != 2 || shape[0] == 0 || shape[1] == 0) {
    throw std::invalid_argument("got weights of shape " + ort::describe(shape) +
                                "; expected 2 dimensions of at least one");
  }
  taps_ = shape[0];
  rows_ = shape[1];
  basis_ = transpose_matrix(ort::tensor_data(api, weight), taps_, rows_, dtype);
  convolution_ = std::make_unique<const Convolution>(frames_of(taps_), dtype, rows_, 1, basis_.data(),
                                                     FrameForm{BinForm::kParts, true});
}

void MatMulNode::compute(OrtKernelContext* context) const {
  const OrtValue* x = nullptr;
  ort::check(api_, ort::kernel_context_get_input(api_, context, 0, &x));
  ort::Shape shape = ort::tensor_shape(api_, x);
  if (shape.empty() || shape.back() != taps_) {
    throw std::invalid_argument("got an input of shape " + ort::describe(shape) + "; expected a last dimension of " +
                                std::to_string(taps_));
  }
  const int64_t samples = count_elements(shape.data(), static_cast<int>(shape.size()));
  shape.back() = rows_;
  count_elements(shape.data(), static_cast<int>(shape.size()));
  OrtValue* y = nullptr;
  ort::check(api_, ort::kernel_context_get_output(api_, context, 0, shape.data(), shape.size(), &y));
  if (samples == 0) return;
  const int64_t signal[] = {1, 1, samples};
  ort::Pool pool{api_, context};
  convolution_->run(*convolution_->execution_for(signal), ort::tensor_data(api_, x), nullptr, {},
                    ort::tensor_data(api_, y), pool.executor());
}

}  // namespace onnx_fft
