#include "ops/ort_conv.h"

#include <string>
#include <vector>

#include "ops/ort.h"

namespace onnx_fft {
namespace {

constexpr int kConvOpset = 11;  // the oldest one whose kernels are in every ORT since 1.17

// Conv's attributes as ORT's objects.
class Attributes {
 public:
  explicit Attributes(const OrtApi& api) : api_(api) {}
  ~Attributes() {
    for (OrtOpAttr* attribute : held_) ort::release_op_attr(api_, attribute);
  }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;

  void add(const char* name, const std::vector<int64_t>& values, OrtAttributeType type = kOrtInts) {
    add(name, values.data(), values.size(), type);
  }
  void add(const char* name, const std::string& text) { add(name, text.data(), text.size(), kOrtString); }

  const OrtOpAttr* const* data() const { return held_.data(); }
  int size() const { return static_cast<int>(held_.size()); }

 private:
  void add(const char* name, const void* values, size_t count, OrtAttributeType type) {
    held_.reserve(held_.size() + 1);
    OrtOpAttr* attribute = nullptr;
    ort::check(api_, ort::create_op_attr(api_, name, values, static_cast<int>(count), type, &attribute));
    held_.push_back(attribute);
  }

  const OrtApi& api_;
  std::vector<OrtOpAttr*> held_;
};

}  // namespace

OrtConv::OrtConv(const OrtApi& api, const OrtKernelInfo* info, const ConvAttributes& conv, size_t input_count)
    : OrtConv(api, info, conv, nullptr, input_count) {}

OrtConv::OrtConv(const OrtApi& api, const OrtKernelInfo* info, const TransposedAttributes& transposed,
                 size_t input_count)
    : OrtConv(api, info, transposed.conv, transposed.output_padding, input_count) {}

OrtConv::OrtConv(const OrtApi& api, const OrtKernelInfo* info, const ConvAttributes& conv,
                 const int64_t* output_padding, size_t input_count)
    : api_(api), input_count_(input_count) {
  const auto list = [&](const int64_t* values) { return std::vector<int64_t>(values, values + conv.rank); };
  Attributes attributes(api);
  attributes.add("group", {conv.group}, kOrtInt);
  attributes.add("kernel_shape", list(conv.kernel));
  attributes.add("strides", list(conv.strides));
  attributes.add("dilations", list(conv.dilations));
  if (conv.auto_pad == AutoPad::kNone) {
    std::vector<int64_t> pads = list(conv.pads_begin), ends = list(conv.pads_end);
    pads.insert(pads.end(), ends.begin(), ends.end());
    attributes.add("pads", pads);
  } else {
    attributes.add("auto_pad", conv.auto_pad == AutoPad::kSameUpper ? "SAME_UPPER" : "SAME_LOWER");
  }
  if (output_padding != nullptr) attributes.add("output_padding", list(output_padding));
  const char* const name = output_padding != nullptr ? "ConvTranspose" : "Conv";
  const char* constraint = "T";
  const OrtElementType type = kOrtFloat;
  ort::check(api, ort::create_op(api, info, name, "", kConvOpset, &constraint, &type, 1, attributes.data(),
                                 attributes.size(), static_cast<int>(input_count), 1, &op_));
}

OrtConv::~OrtConv() { ort::release_op(api_, op_); }

void OrtConv::run(const OrtKernelContext* context, const OrtValue* const* inputs, OrtValue* y) const {
  ort::check(api_, ort::invoke_op(api_, context, op_, inputs, static_cast<int>(input_count_), &y, 1));
}

}  // namespace onnx_fft
