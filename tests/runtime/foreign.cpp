// A library of somebody else's operators, for tests: `somebody::Negate`, float32 -> float32 of any shape.
#include <vector>

#include "ops/abi.h"

namespace {

using namespace onnx_fft::ort;

const OrtApi* api = nullptr;
int kernel = 0;

OrtStatus* negate(void*, OrtKernelContext* context) {
  const OrtValue* x = nullptr;
  OrtTensorTypeAndShapeInfo* info = nullptr;
  size_t rank = 0;
  void* from = nullptr;
  void* to = nullptr;
  OrtValue* y = nullptr;
  kernel_context_get_input(*api, context, 0, &x);
  get_tensor_type_and_shape(*api, x, &info);
  get_dimensions_count(*api, info, &rank);
  std::vector<int64_t> shape(rank);
  get_dimensions(*api, info, shape.data(), rank);
  release_tensor_type_and_shape_info(*api, info);
  kernel_context_get_output(*api, context, 0, shape.data(), rank, &y);
  get_tensor_mutable_data(*api, const_cast<OrtValue*>(x), &from);
  get_tensor_mutable_data(*api, y, &to);
  int64_t count = 1;
  for (const int64_t length : shape) count *= length;
  for (int64_t i = 0; i < count; ++i) static_cast<float*>(to)[i] = -static_cast<const float*>(from)[i];
  return nullptr;
}

OrtCustomOp make_negate() {
  OrtCustomOp op{};
  op.version = kOrtApiVersion;
  op.get_name = [](const OrtCustomOp*) { return "Negate"; };
  op.get_execution_provider_type = [](const OrtCustomOp*) -> const char* { return nullptr; };
  op.get_input_type = op.get_output_type = [](const OrtCustomOp*, size_t) { return kOrtFloat; };
  op.get_input_type_count = op.get_output_type_count = [](const OrtCustomOp*) -> size_t { return 1; };
  op.get_input_characteristic = op.get_output_characteristic = [](const OrtCustomOp*, size_t) { return kOrtRequired; };
  op.get_input_memory_type = [](const OrtCustomOp*, size_t) { return kOrtDefaultMemory; };
  op.create_kernel_v2 = [](const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*, void** made) -> OrtStatus* {
    *made = &kernel;
    return nullptr;
  };
  op.kernel_compute_v2 = negate;
  op.kernel_destroy = [](void*) {};
  op.get_start_version = [](const OrtCustomOp*) { return 1; };
  op.get_end_version = [](const OrtCustomOp*) { return 1 << 30; };
  return op;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options,
                                                                               const OrtApiBase* base) {
  static const OrtCustomOp op = make_negate();
  static OrtCustomOpDomain* domain = nullptr;
  api = base->get_api(kOrtApiVersion);
  if (domain == nullptr) {
    create_custom_op_domain(*api, "somebody", &domain);
    custom_op_domain_add(*api, domain, &op);
  }
  return add_custom_op_domain(*api, options, domain);
}
