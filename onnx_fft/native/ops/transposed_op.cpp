#include "ops/transposed_op.h"

#include <string>

#include "ops/infer.h"
#include "ops/ort.h"
#include "ops/transposed_node.h"

namespace onnx_fft {
namespace {

constexpr char kName[] = "FFTConvTranspose";

const TransposedOp& self_of(const OrtCustomOp* op) { return *static_cast<const TransposedOp*>(op); }

// What ORT holds from the creation of a kernel until it destroys it.
struct Kernel {
  const OrtApi& api;
  std::string where;
  TransposedNode node;
};

OrtStatus* create_kernel(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info, void** kernel) {
  *kernel = nullptr;
  std::string where = kName;
  return ort::guard(*api, where, [&] {
    const std::string name = ort::NodeInfo(*api, info).name();
    if (!name.empty()) where += " '" + name + "'";
    *kernel = new Kernel{*api, where, {*api, info, self_of(op).type.dtype}};
  });
}

OrtStatus* compute(void* kernel, OrtKernelContext* context) {
  const auto& self = *static_cast<const Kernel*>(kernel);
  return ort::guard(self.api, self.where, [&] { self.node.compute(context); });
}

OrtStatus* infer(const OrtCustomOp* op, OrtShapeInferContext* context) {
  const OrtApi& api = *self_of(op).api;
  return ort::guard(api, kName, [&] { infer_transposed_shape(api, context); });
}

}  // namespace

std::vector<TransposedOp> list_transposed_ops(const OrtApi& api, bool infers_shapes) {
  std::vector<TransposedOp> ops;
  for (const NamedType& type : kTypes) {
    TransposedOp op{common_op(), type, &api};
    op.get_name = [](const OrtCustomOp*) { return kName; };
    op.get_input_type_count = [](const OrtCustomOp*) { return TransposedNode::kInputs; };
    op.get_input_type =
        op.get_output_type = [](const OrtCustomOp* self, size_t) { return self_of(self).type.element_type; };
    op.get_input_characteristic = [](const OrtCustomOp*, size_t index) {
      return index + 1 == TransposedNode::kInputs ? kOrtOptional : kOrtRequired;
    };
    op.create_kernel_v2 = create_kernel;
    op.kernel_compute_v2 = compute;
    op.kernel_destroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
    op.infer_output_shape = infers_shapes ? infer : nullptr;
    ops.push_back(op);
  }
  return ops;
}

}  // namespace onnx_fft
