#include "ops/ort_conv.h"

#include <vector>

#include "ops/ort.h"

namespace onnx_fft {
namespace {

constexpr int kConvOpset = 11;  // the oldest one whose kernel is in every ORT since 1.17

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
    held_.reserve(held_.size() + 1);
    OrtOpAttr* attribute = nullptr;
    ort::check(api_, ort::create_op_attr(api_, name, values.data(), static_cast<int>(values.size()), type, &attribute));
    held_.push_back(attribute);
  }

  const OrtOpAttr* const* data() const { return held_.data(); }
  int size() const { return static_cast<int>(held_.size()); }

 private:
  const OrtApi& api_;
  std::vector<OrtOpAttr*> held_;
};

}  // namespace

OrtConv::OrtConv(const OrtApi& api, const OrtKernelInfo* info, const ConvAttributes& conv, size_t input_count)
    : api_(api), input_count_(input_count) {
  const auto list = [&](const int64_t* values) { return std::vector<int64_t>(values, values + conv.rank); };
  std::vector<int64_t> pads = list(conv.pads_begin), ends = list(conv.pads_end);
  pads.insert(pads.end(), ends.begin(), ends.end());
  Attributes attributes(api);
  attributes.add("group", {conv.group}, kOrtInt);
  attributes.add("kernel_shape", list(conv.kernel));
  attributes.add("strides", list(conv.strides));
  attributes.add("dilations", list(conv.dilations));
  attributes.add("pads", pads);
  const char* constraint = "T";
  const OrtElementType type = kOrtFloat;
  ort::check(api, ort::create_op(api, info, "Conv", "", kConvOpset, &constraint, &type, 1, attributes.data(),
                                 attributes.size(), static_cast<int>(input_count), 1, &op_));
}

OrtConv::~OrtConv() { ort::release_op(api_, op_); }

void OrtConv::run(const OrtKernelContext* context, const OrtValue* const* inputs, OrtValue* y) const {
  ort::check(api_, ort::invoke_op(api_, context, op_, inputs, static_cast<int>(input_count_), &y, 1));
}

}  // namespace onnx_fft
