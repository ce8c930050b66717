#include "ops/infer.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ops/ort.h"
#include "planner/conv.h"

namespace onnx_fft {
namespace {

// Sizes, or -1 and a name; a dimension with neither is unknown.
struct Dimensions {
  ort::Shape sizes;
  std::vector<std::string> names;
  OrtElementType type;
};

Dimensions read_input(const OrtApi& api, OrtShapeInferContext* context, size_t index) {
  OrtTensorTypeAndShapeInfo* info = nullptr;  // ORT's own, not to be released
  ort::check(api, ort::shape_infer_context_get_input_type_shape(api, context, index, &info));
  Dimensions found{ort::dimensions(api, info), {}, kOrtFloat};
  ort::check(api, ort::get_tensor_element_type(api, info, &found.type));
  std::vector<const char*> names(found.sizes.size(), "");
  ort::check(api, ort::get_symbolic_dimensions(api, info, names.data(), names.size()));
  found.names.assign(names.begin(), names.end());
  return found;
}

// Sums and products of larger numbers overflow; the node refuses them when it is made.
constexpr int64_t kMost = int64_t{1} << 31;

bool is_sane(int64_t number) { return -kMost <= number && number <= kMost; }

std::optional<int64_t> read_integer(const OrtApi& api, OrtShapeInferContext* context, const char* name) {
  const OrtOpAttr* attribute = nullptr;
  if (!ort::succeeded(api, ort::shape_infer_context_get_attribute(api, context, name, &attribute))) return std::nullopt;
  int64_t value = 0;
  size_t bytes = 0;
  OrtStatus* status = ort::read_op_attr(api, attribute, kOrtInt, &value, sizeof value, &bytes);
  return ort::succeeded(api, status) && is_sane(value) ? std::optional(value) : std::nullopt;
}

std::optional<std::vector<int64_t>> read_list(const OrtApi& api, OrtShapeInferContext* context, const char* name) {
  const OrtOpAttr* attribute = nullptr;
  if (!ort::succeeded(api, ort::shape_infer_context_get_attribute(api, context, name, &attribute))) return std::nullopt;
  std::array<int64_t, 2 * kMaxRank> values{};
  size_t bytes = 0;
  OrtStatus* status = ort::read_op_attr(api, attribute, kOrtInts, values.data(), sizeof(values), &bytes);
  if (!ort::succeeded(api, status)) return std::nullopt;
  const std::vector<int64_t> list(values.begin(), values.begin() + static_cast<ptrdiff_t>(bytes / sizeof(int64_t)));
  return std::all_of(list.begin(), list.end(), is_sane) ? std::optional(list) : std::nullopt;
}

// Sets `y` along one axis; false if the input's size does not determine it.
bool infer_axis(const Dimensions& x, size_t axis, int64_t padding, int64_t span, int64_t stride, Dimensions& y) {
  if (x.sizes[axis] >= 0) {
    const int64_t room = x.sizes[axis] + padding - span;
    y.sizes[axis] = room < 0 || stride < 1 ? -1 : room / stride + 1;
    return y.sizes[axis] > 0;
  }
  y.names[axis] = x.names[axis];
  return stride == 1 && padding == span - 1 && !x.names[axis].empty();  // as long as the input
}

void set_output(const OrtApi& api, OrtShapeInferContext* context, const Dimensions& y) {
  OrtTensorTypeAndShapeInfo* info = nullptr;
  ort::check(api, ort::create_tensor_type_and_shape_info(api, &info));
  const auto release = [&](OrtTensorTypeAndShapeInfo* held) { ort::release_tensor_type_and_shape_info(api, held); };
  const std::unique_ptr<OrtTensorTypeAndShapeInfo, decltype(release)> owner(info, release);
  std::vector<const char*> names;
  for (const std::string& name : y.names) names.push_back(name.c_str());
  ort::check(api, ort::set_tensor_element_type(api, info, y.type));
  ort::check(api, ort::set_dimensions(api, info, y.sizes.data(), y.sizes.size()));
  ort::check(api, ort::set_symbolic_dimensions(api, info, names.data(), names.size()));
  ort::check(api, ort::shape_infer_context_set_output_type_shape(api, context, 0, info));
}

// Sets the output's shape [batch, channels, ...] if each axis is known: `infer(axis, y)` sets it and says so.
template <typename Infer>
void infer_axes(const OrtApi& api, OrtShapeInferContext* context, const Dimensions& x, int64_t channels,
                const Infer& infer) {
  Dimensions y{ort::Shape(x.sizes.size(), -1), std::vector<std::string>(x.sizes.size()), x.type};
  y.sizes[0] = x.sizes[0];
  y.names[0] = x.names[0];
  y.sizes[1] = channels;
  bool known = x.sizes[0] >= 0 || !x.names[0].empty();
  for (size_t axis = 2; axis < x.sizes.size(); ++axis) known = known && infer(axis, y);
  if (known) set_output(api, context, y);
}

// The lists that Conv and ConvTranspose have in common.
struct Lists {
  std::vector<int64_t> kernel, strides, dilations, pads;

  size_t rank() const { return kernel.size(); }
  int64_t span(size_t axis) const { return dilations[axis] * (kernel[axis] - 1) + 1; }
  int64_t padding(size_t axis) const { return pads[axis] + pads[axis + rank()]; }
};

// Nothing if one is missing, as pads are in an op for lengths that nobody knows yet, or does not fit x and w.
std::optional<Lists> read_lists(const OrtApi& api, OrtShapeInferContext* context, const Dimensions& x,
                                const Dimensions& w) {
  const auto kernel = read_list(api, context, "kernel_shape"), strides = read_list(api, context, "strides");
  const auto dilations = read_list(api, context, "dilations"), pads = read_list(api, context, "pads");
  if (!kernel || !strides || !dilations || !pads) return std::nullopt;
  const size_t rank = kernel->size();
  const bool fits = x.sizes.size() == rank + 2 && w.sizes.size() == rank + 2 && strides->size() == rank &&
                    dilations->size() == rank && pads->size() == 2 * rank;
  return fits ? std::optional(Lists{*kernel, *strides, *dilations, *pads}) : std::nullopt;
}

}  // namespace

void infer_output_shape(const OrtApi& api, OrtShapeInferContext* context) {
  const Dimensions x = read_input(api, context, 0), w = read_input(api, context, 1);
  const auto lists = read_lists(api, context, x, w);
  if (!lists || w.sizes[0] < 0) return;
  infer_axes(api, context, x, w.sizes[0], [&](size_t axis, Dimensions& y) {
    return infer_axis(x, axis, lists->padding(axis - 2), lists->span(axis - 2), lists->strides[axis - 2], y);
  });
}

void infer_transposed_shape(const OrtApi& api, OrtShapeInferContext* context) {
  const Dimensions x = read_input(api, context, 0), w = read_input(api, context, 1);
  const auto lists = read_lists(api, context, x, w);
  const auto paddings = read_list(api, context, "output_padding");
  const std::optional<int64_t> group = read_integer(api, context, "group");
  if (!lists || !paddings || paddings->size() != lists->rank() || !group || w.sizes[1] < 0 || !is_sane(w.sizes[1]))
    return;
  infer_axes(api, context, x, w.sizes[1] * *group, [&](size_t axis, Dimensions& y) {
    const int64_t stride = lists->strides[axis - 2];
    const int64_t rest = (*paddings)[axis - 2] + lists->span(axis - 2) - lists->padding(axis - 2);
    if (x.sizes[axis] < 0) {
      y.names[axis] = x.names[axis];
      return stride == 1 && rest == 1 && !x.names[axis].empty();  // as long as the input
    }
    if (x.sizes[axis] > kMost) return false;  // products of larger ones overflow
    y.sizes[axis] = stride * (x.sizes[axis] - 1) + rest;
    return y.sizes[axis] > 0;
  });
}

}  // namespace onnx_fft
