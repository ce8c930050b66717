#include "ops/attributes.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

namespace onnx_fft {
namespace {

[[noreturn]] void refuse(const std::string& got, const std::string& expected) {
  throw std::invalid_argument("got " + got + "; expected " + expected);
}

// With larger values, products of two of them overflow.
constexpr int64_t kMost = int64_t{1} << 31;

void check_value(const std::string& got, int64_t value, int64_t least) {
  if (value < least) refuse(got + std::to_string(value), "at least " + std::to_string(least));
  if (value > kMost) refuse(got + std::to_string(value), "at most " + std::to_string(kMost));
}

// `count` integers from `least` to `kMost`.
std::vector<int64_t> read_list(const ort::NodeInfo& node, const char* name, size_t count, int64_t least) {
  std::vector<int64_t> values = node.integers(name);
  if (values.size() != count) {
    refuse(std::string("'") + name + "' of " + std::to_string(values.size()) + " values",
           std::to_string(count) + ", by the length of 'kernel_shape'");
  }
  for (const int64_t value : values) check_value(std::string("'") + name + "' with ", value, least);
  return values;
}

// `alpha` and `beta`, if the activation has them.
Activation read_activation(const ort::NodeInfo& node, ActivationKind kind) {
  Activation activation{kind, 0, 0};
  const bool has_beta = kind == ActivationKind::kClip || kind == ActivationKind::kHardSigmoid;
  if (has_beta || kind == ActivationKind::kLeakyRelu) activation.alpha = node.real("alpha");
  if (has_beta) activation.beta = node.real("beta");
  return activation;
}

AutoPad read_auto_pad(const ort::NodeInfo& node) {
  const std::string mode = node.text("auto_pad");
  if (mode == "SAME_UPPER") return AutoPad::kSameUpper;
  if (mode != "SAME_LOWER") refuse("'auto_pad' " + mode, "SAME_UPPER or SAME_LOWER");
  return AutoPad::kSameLower;
}

// Weights [rank + 2], whose first two axes are channels.
void check_kernel(const ConvAttributes& attributes, const ort::Shape& w) {
  ort::Shape expected{-1, -1};
  expected.insert(expected.end(), attributes.kernel, attributes.kernel + attributes.rank);
  bool fits = w.size() == expected.size();
  for (size_t axis = 2; fits && axis < w.size(); ++axis) fits = w[axis] < 0 || w[axis] == expected[axis];
  if (!fits) refuse("weights of shape " + ort::describe(w), ort::describe(expected) + ", by 'kernel_shape'");
  if (w[0] == 0 || w[1] == 0) refuse("weights of shape " + ort::describe(w), "at least one channel in and out");
}

void check_rank(const ConvAttributes& attributes, const ort::Shape& x) {
  if (x.size() == static_cast<size_t>(attributes.rank) + 2) return;
  refuse("an input of shape " + ort::describe(x),
         std::to_string(attributes.rank + 2) + " dimensions, by the length of 'kernel_shape'");
}

}  // namespace

ConvAttributes read_attributes(const ort::NodeInfo& node, ActivationKind activation, bool pads_itself) {
  constexpr int64_t kAnyPad = -(int64_t{1} << 40);  // negative pads crop
  const std::vector<int64_t> kernel = node.integers("kernel_shape");
  const size_t rank = kernel.size();
  if (rank < 1 || rank > kMaxRank) {
    refuse("'kernel_shape' of " + std::to_string(rank) + " values", "1 to " + std::to_string(kMaxRank));
  }
  ConvAttributes attributes;
  attributes.rank = static_cast<int>(rank);
  attributes.group = node.integer("group");
  check_value("'group' ", attributes.group, 1);
  const auto copy = [&](const std::vector<int64_t>& values, int64_t* to) { std::copy_n(values.begin(), rank, to); };
  copy(read_list(node, "kernel_shape", rank, 1), attributes.kernel);
  copy(read_list(node, "strides", rank, 1), attributes.strides);
  copy(read_list(node, "dilations", rank, 1), attributes.dilations);
  if (pads_itself) {
    attributes.auto_pad = read_auto_pad(node);
  } else {
    const std::vector<int64_t> pads = read_list(node, "pads", 2 * rank, kAnyPad);
    copy(pads, attributes.pads_begin);
    std::copy_n(pads.begin() + static_cast<ptrdiff_t>(rank), rank, attributes.pads_end);
  }
  attributes.activation = read_activation(node, activation);
  return attributes;
}

TransposedAttributes read_transposed_attributes(const ort::NodeInfo& node) {
  TransposedAttributes attributes{read_attributes(node, ActivationKind::kNone, false)};
  const ConvAttributes& conv = attributes.conv;
  for (const int64_t pad : node.integers("pads")) check_value("'pads' with ", pad, 0);
  const std::vector<int64_t> paddings = read_list(node, "output_padding", static_cast<size_t>(conv.rank), 0);
  for (int axis = 0; axis < conv.rank; ++axis) {
    const int64_t padding = paddings[static_cast<size_t>(axis)];
    const int64_t limit = std::max(conv.strides[axis], conv.dilations[axis]);
    if (padding >= limit) {
      refuse("'output_padding' with " + std::to_string(padding),
             "less than the stride or the dilation, of which the larger is " + std::to_string(limit));
    }
    attributes.output_padding[axis] = padding;
  }
  return attributes;
}

void check_weight_shape(const ConvAttributes& attributes, const ort::Shape& w) {
  check_kernel(attributes, w);
  if (w[0] > 0 && w[0] % attributes.group != 0) {
    refuse(
        "weights for " + std::to_string(w[0]) + " output channels in " + std::to_string(attributes.group) + " groups",
        "a multiple of 'group'");
  }
}

void check_transposed_weight_shape(const TransposedAttributes& attributes, const ort::Shape& w) {
  check_kernel(attributes.conv, w);
  if (w[0] > 0 && w[0] % attributes.conv.group != 0) {
    refuse("weights for " + std::to_string(w[0]) + " input channels in " + std::to_string(attributes.conv.group) +
               " groups",
           "a multiple of 'group'");
  }
}

void check_input_shape(const ConvAttributes& attributes, const ort::Shape& x, const ort::Shape& w) {
  check_rank(attributes, x);
  const int64_t expected = w[1] < 0 ? -1 : w[1] * attributes.group;
  if (x[1] >= 0 && expected >= 0 && x[1] != expected) {
    refuse("an input of " + std::to_string(x[1]) + " channels", std::to_string(expected) + ", by weights of shape " +
                                                                    ort::describe(w) + " and 'group' " +
                                                                    std::to_string(attributes.group));
  }
}

void check_transposed_input_shape(const TransposedAttributes& attributes, const ort::Shape& x, const ort::Shape& w) {
  check_rank(attributes.conv, x);
  if (x[1] < 0 || w[0] < 0 || x[1] == w[0]) return;
  refuse("an input of " + std::to_string(x[1]) + " channels",
         std::to_string(w[0]) + ", by weights of shape " + ort::describe(w));
}

void check_bias_shape(const ort::Shape& bias, int64_t out_channels) {
  if (bias.size() != 1 || bias[0] != out_channels) {
    refuse("a bias of shape " + ort::describe(bias), std::to_string(out_channels) + ", the number of output channels");
  }
}

}  // namespace onnx_fft
