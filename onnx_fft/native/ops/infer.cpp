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

std::optional<std::vector<int64_t>> read_list(const OrtApi& api, OrtShapeInferContext* context, const char* name) {
  const OrtOpAttr* attribute = nullptr;
  if (!ort::succeeded(api, ort::shape_infer_context_get_attribute(api, context, name, &attribute))) return std::nullopt;
  std::array<int64_t, 2 * kMaxRank> values{};
  size_t bytes = 0;
  OrtStatus* status = ort::read_op_attr(api, attribute, kOrtInts, values.data(), sizeof(values), &bytes);
  if (!ort::succeeded(api, status)) return std::nullopt;
  const std::vector<int64_t> list(values.begin(), values.begin() + static_cast<ptrdiff_t>(bytes / sizeof(int64_t)));
  // Sums and products of larger ones overflow; the node refuses them when it is made.
  constexpr int64_t kMost = int64_t{1} << 31;
  const bool is_sane =
      std::all_of(list.begin(), list.end(), [](int64_t each) { return -kMost <= each && each <= kMost; });
  return is_sane ? std::optional(list) : std::nullopt;
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

}  // namespace

void infer_output_shape(const OrtApi& api, OrtShapeInferContext* context) {
  const auto kernel = read_list(api, context, "kernel_shape"), strides = read_list(api, context, "strides");
  const auto dilations = read_list(api, context, "dilations"), pads = read_list(api, context, "pads");
  if (!kernel || !strides || !dilations || !pads) return;  // an op without pads is for lengths that nobody knows yet
  const Dimensions x = read_input(api, context, 0), w = read_input(api, context, 1);
  const size_t rank = kernel->size();
  if (x.sizes.size() != rank + 2 || w.sizes.size() != rank + 2 || w.sizes[0] < 0 || strides->size() != rank ||
      dilations->size() != rank || pads->size() != 2 * rank) {
    return;
  }
  Dimensions y{ort::Shape(rank + 2, -1), std::vector<std::string>(rank + 2), x.type};
  y.sizes[0] = x.sizes[0];
  y.names[0] = x.names[0];
  y.sizes[1] = w.sizes[0];
  bool known = x.sizes[0] >= 0 || !x.names[0].empty();
  for (size_t axis = 0; axis < rank; ++axis) {
    const int64_t span = (*dilations)[axis] * ((*kernel)[axis] - 1) + 1;
    known = known && infer_axis(x, axis + 2, (*pads)[axis] + (*pads)[axis + rank], span, (*strides)[axis], y);
  }
  if (known) set_output(api, context, y);
}

}  // namespace onnx_fft
