// The part of ONNX Runtime's C interface that the binding uses. No package that a build could rely on has ORT's
// headers, and the interface only grows: what this file says holds for every version since 1.17.
//
// Layouts are those of version 17; slots are positions in the OrtApi table. tests/native/test_binding.py calls each.
#pragma once

#include <cstddef>
#include <cstdint>

constexpr uint32_t kOrtApiVersion = 17;

// ORT's own objects, of which only the addresses are known.
struct OrtStatus;
struct OrtSessionOptions;
struct OrtCustomOpDomain;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtShapeInferContext;
struct OrtValue;
struct OrtTypeInfo;
struct OrtTensorTypeAndShapeInfo;
struct OrtOp;
struct OrtOpAttr;

struct OrtApi {
  void (*slots[275])();
};

struct OrtApiBase {
  const OrtApi* (*get_api)(uint32_t version);
  const char* (*get_version_string)();
};

enum OrtErrorCode : int { kOrtFail = 1, kOrtInvalidArgument = 2, kOrtRuntimeException = 6 };
enum OrtElementType : int { kOrtFloat = 1, kOrtUint8 = 2, kOrtInt64 = 7, kOrtFloat16 = 10, kOrtDouble = 11 };
enum OrtCharacteristic : int { kOrtRequired = 0, kOrtOptional = 1 };
enum OrtMemory : int { kOrtDefaultMemory = 0 };
enum OrtAttributeType : int { kOrtInt = 1, kOrtInts = 2, kOrtString = 5 };

struct OrtCustomOp {
  uint32_t version;
  void* (*create_kernel)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*);
  const char* (*get_name)(const OrtCustomOp*);
  const char* (*get_execution_provider_type)(const OrtCustomOp*);
  OrtElementType (*get_input_type)(const OrtCustomOp*, size_t index);
  size_t (*get_input_type_count)(const OrtCustomOp*);
  OrtElementType (*get_output_type)(const OrtCustomOp*, size_t index);
  size_t (*get_output_type_count)(const OrtCustomOp*);
  void (*kernel_compute)(void* kernel, OrtKernelContext*);
  void (*kernel_destroy)(void* kernel);
  OrtCharacteristic (*get_input_characteristic)(const OrtCustomOp*, size_t index);
  OrtCharacteristic (*get_output_characteristic)(const OrtCustomOp*, size_t index);
  OrtMemory (*get_input_memory_type)(const OrtCustomOp*, size_t index);
  int (*get_variadic_input_min_arity)(const OrtCustomOp*);
  int (*get_variadic_input_homogeneity)(const OrtCustomOp*);
  int (*get_variadic_output_min_arity)(const OrtCustomOp*);
  int (*get_variadic_output_homogeneity)(const OrtCustomOp*);
  OrtStatus* (*create_kernel_v2)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*, void** kernel);
  OrtStatus* (*kernel_compute_v2)(void* kernel, OrtKernelContext*);
  OrtStatus* (*infer_output_shape)(const OrtCustomOp*, OrtShapeInferContext*);
  int (*get_start_version)(const OrtCustomOp*);
  int (*get_end_version)(const OrtCustomOp*);
};
static_assert(sizeof(void*) != 8 || sizeof(OrtCustomOp) == 176, "the layout of version 17");

namespace onnx_fft::ort {

// A function of the table, called as `name(api, arguments...)`.
template <size_t kNumber, typename Result, typename... Arguments>
struct Slot {
  static_assert(kNumber < sizeof(OrtApi::slots) / sizeof(OrtApi::slots[0]), "a slot of version 17");
  Result operator()(const OrtApi& api, Arguments... arguments) const {
    return reinterpret_cast<Result (*)(Arguments...)>(api.slots[kNumber])(arguments...);
  }
};

template <size_t kNumber, typename... Arguments>
using Call = Slot<kNumber, OrtStatus*, Arguments...>;  // nullptr if all went well

constexpr Call<0, OrtErrorCode, const char*> create_status;
constexpr Slot<1, OrtErrorCode, const OrtStatus*> get_error_code;
constexpr Slot<2, const char*, const OrtStatus*> get_error_message;
constexpr Slot<93, void, OrtStatus*> release_status;

constexpr Call<26, const char*, OrtCustomOpDomain**> create_custom_op_domain;
constexpr Call<27, OrtCustomOpDomain*, const OrtCustomOp*> custom_op_domain_add;
constexpr Call<28, OrtSessionOptions*, OrtCustomOpDomain*> add_custom_op_domain;

constexpr Call<51, OrtValue*, void**> get_tensor_mutable_data;
constexpr Call<55, const OrtTypeInfo*, const OrtTensorTypeAndShapeInfo**> cast_type_info_to_tensor_info;
constexpr Call<57, OrtTensorTypeAndShapeInfo**> create_tensor_type_and_shape_info;
constexpr Call<58, OrtTensorTypeAndShapeInfo*, OrtElementType> set_tensor_element_type;
constexpr Call<59, OrtTensorTypeAndShapeInfo*, const int64_t*, size_t> set_dimensions;
constexpr Call<60, const OrtTensorTypeAndShapeInfo*, OrtElementType*> get_tensor_element_type;
constexpr Call<61, const OrtTensorTypeAndShapeInfo*, size_t*> get_dimensions_count;
constexpr Call<62, const OrtTensorTypeAndShapeInfo*, int64_t*, size_t> get_dimensions;
constexpr Call<63, const OrtTensorTypeAndShapeInfo*, const char**, size_t> get_symbolic_dimensions;
constexpr Call<65, const OrtValue*, OrtTensorTypeAndShapeInfo**> get_tensor_type_and_shape;
constexpr Slot<98, void, OrtTypeInfo*> release_type_info;
constexpr Slot<99, void, OrtTensorTypeAndShapeInfo*> release_tensor_type_and_shape_info;

constexpr Call<85, const OrtKernelInfo*, const char*, float*> kernel_info_get_attribute_float;
constexpr Call<86, const OrtKernelInfo*, const char*, int64_t*> kernel_info_get_attribute_int64;
constexpr Call<87, const OrtKernelInfo*, const char*, char*, size_t*> kernel_info_get_attribute_string;
constexpr Call<163, const OrtKernelInfo*, const char*, int64_t*, size_t*> kernel_info_get_attribute_array_int64;
constexpr Call<230, const OrtKernelInfo*, size_t*> kernel_info_get_input_count;
constexpr Call<234, const OrtKernelInfo*, size_t, OrtTypeInfo**> kernel_info_get_input_type_info;
constexpr Call<244, const OrtKernelInfo*, char*, size_t*> kernel_info_get_node_name;
constexpr Call<249, const OrtKernelInfo*, size_t, int*, const OrtValue**> kernel_info_get_constant_input_tensor;

constexpr Call<268, const OrtShapeInferContext*, size_t, OrtTensorTypeAndShapeInfo**>
    shape_infer_context_get_input_type_shape;
constexpr Call<269, const OrtShapeInferContext*, const char*, const OrtOpAttr**> shape_infer_context_get_attribute;
constexpr Call<270, const OrtShapeInferContext*, size_t, const OrtTensorTypeAndShapeInfo*>
    shape_infer_context_set_output_type_shape;
constexpr Call<271, OrtTensorTypeAndShapeInfo*, const char**, size_t> set_symbolic_dimensions;
// type, values, bytes available, bytes used
constexpr Call<272, const OrtOpAttr*, OrtAttributeType, void*, size_t, size_t*> read_op_attr;

constexpr Call<88, const OrtKernelContext*, size_t*> kernel_context_get_input_count;
constexpr Call<90, const OrtKernelContext*, size_t, const OrtValue**> kernel_context_get_input;
constexpr Call<91, OrtKernelContext*, size_t, const int64_t*, size_t, OrtValue**> kernel_context_get_output;
// task(data, index) for every index < count; With `batches` 0, threads take one index at a time.
constexpr Call<274, const OrtKernelContext*, void (*)(void*, size_t), size_t, size_t, void*>
    kernel_context_parallel_for;

// data, number of values
constexpr Call<211, const char*, const void*, int, OrtAttributeType, OrtOpAttr**> create_op_attr;
constexpr Slot<212, void, OrtOpAttr*> release_op_attr;
// info, op type, domain, opset, type constraints (names, types, count), attributes, their count, inputs, outputs
constexpr Call<213, const OrtKernelInfo*, const char*, const char*, int, const char**, const OrtElementType*, int,
               const OrtOpAttr* const*, int, int, int, OrtOp**>
    create_op;
constexpr Call<214, const OrtKernelContext*, const OrtOp*, const OrtValue* const*, int, OrtValue* const*, int>
    invoke_op;
constexpr Slot<215, void, OrtOp*> release_op;

}  // namespace onnx_fft::ort
