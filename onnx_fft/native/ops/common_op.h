// What all our ops have in common.
#pragma once

#include "ops/abi.h"
#include "planner/conv.h"

namespace onnx_fft {

struct NamedType {
  OrtElementType element_type;
  DType dtype;
};

// Each op is registered once for each of them.
constexpr NamedType kTypes[] = {
    {kOrtFloat, DType::kFloat32}, {kOrtDouble, DType::kFloat64}, {kOrtFloat16, DType::kFloat16}};

// ORT requires every function, except those of a newer version than the op's.
inline OrtCustomOp common_op() {
  OrtCustomOp op{};
  op.version = kOrtApiVersion;
  op.get_execution_provider_type = [](const OrtCustomOp*) -> const char* { return nullptr; };  // CPU
  op.get_output_type_count = [](const OrtCustomOp*) -> size_t { return 1; };
  op.get_output_characteristic = [](const OrtCustomOp*, size_t) { return kOrtRequired; };
  op.get_input_memory_type = [](const OrtCustomOp*, size_t) { return kOrtDefaultMemory; };
  const auto none = [](const OrtCustomOp*) { return 0; };
  op.get_variadic_input_min_arity = op.get_variadic_output_min_arity = none;
  op.get_variadic_input_homogeneity = op.get_variadic_output_homogeneity = none;
  return op;
}

}  // namespace onnx_fft
