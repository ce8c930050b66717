// The library as ONNX Runtime sees it: a custom op for each name and element type, and the one function that it looks
// up.
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "engine/machine.h"
#include "kernels/isa.h"
#include "ops/common_op.h"
#include "ops/export.h"
#include "ops/fourier_op.h"
#include "ops/infer.h"
#include "ops/node.h"
#include "ops/ort.h"
#include "ops/stay.h"
#include "ops/transposed_op.h"

namespace onnx_fft {
namespace {

constexpr char kDomain[] = "onnx_fft";

struct OpType {
  std::string name;
  Steps steps;
  bool pads_itself;  // by 'auto_pad', in place of 'pads'
};

struct NamedActivation {
  const char* name;
  ActivationKind kind;
};

constexpr NamedActivation kActivations[] = {{"", ActivationKind::kNone},
                                            {"Relu", ActivationKind::kRelu},
                                            {"LeakyRelu", ActivationKind::kLeakyRelu},
                                            {"PRelu", ActivationKind::kPRelu},
                                            {"Clip", ActivationKind::kClip},
                                            {"HardSigmoid", ActivationKind::kHardSigmoid},
                                            {"HardSwish", ActivationKind::kHardSwish},
                                            {"Sigmoid", ActivationKind::kSigmoid},
                                            {"Swish", ActivationKind::kSwish},
                                            {"Tanh", ActivationKind::kTanh}};

// What is done after the sum is in the operator's name, step by step, and so is padding by auto_pad: a model-local
// function, which computes the op if this library is missing, cannot choose its nodes by an attribute, and its Conv has
// either 'auto_pad' or 'pads'.
std::vector<OpType> list_op_types() {
  std::vector<OpType> op_types{{"FFTConvSame", {}, true},
                               {"FFTConvPower", {false, ActivationKind::kNone, false, BinForm::kPower}, false},
                               {"FFTConvMagnitude", {false, ActivationKind::kNone, false, BinForm::kMagnitude}, false}};
  for (const bool adds : {false, true}) {
    for (const NamedActivation& activation : kActivations) {
      for (const bool normalizes : {false, true}) {
        const std::string name =
            std::string("FFTConv") + (adds ? "Add" : "") + activation.name + (normalizes ? "BatchNormalization" : "");
        op_types.push_back({name, {adds, activation.kind, normalizes, BinForm::kParts}, false});
      }
    }
  }
  return op_types;
}

struct FftConvOp : OrtCustomOp {
  OpType op_type;
  NamedType type;
  const OrtApi* api;
};

// What ORT holds from the creation of a kernel until it destroys it.
struct FftConvKernel {
  const OrtApi& api;
  std::string where;
  FftConvNode node;
};

OrtStatus* create_fft_conv(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info, void** kernel) {
  const auto& self = *static_cast<const FftConvOp*>(op);
  *kernel = nullptr;
  std::string where = self.op_type.name;
  return ort::guard(*api, where, [&] {
    const std::string name = ort::NodeInfo(*api, info).name();
    if (!name.empty()) where += " '" + name + "'";
    *kernel =
        new FftConvKernel{*api, where, {*api, info, self.type.dtype, self.op_type.steps, self.op_type.pads_itself}};
  });
}

OrtStatus* compute_fft_conv(void* kernel, OrtKernelContext* context) {
  const auto& self = *static_cast<const FftConvKernel*>(kernel);
  return ort::guard(self.api, self.where, [&] { self.node.compute(context); });
}

OrtStatus* infer_fft_conv(const OrtCustomOp* op, OrtShapeInferContext* context) {
  const auto& self = *static_cast<const FftConvOp*>(op);
  return ort::guard(*self.api, self.op_type.name, [&] { infer_output_shape(*self.api, context); });
}

// If an op infers shapes, ORT before 1.24 crashes at an optional input that is left out (1.17, 1.20, 1.22 and 1.23 do).
bool infers_shapes_safely(const char* version) {
  int major = 0, minor = 0;
  return std::sscanf(version, "%d.%d", &major, &minor) == 2 && (major > 1 || minor >= 24);
}

// Bins that become one number each have a shape of their own.
bool infers_shape(const Steps& steps) { return steps.bins == BinForm::kParts; }

FftConvOp make_fft_conv(const OpType& op_type, const NamedType& type, const OrtApi& api) {
  FftConvOp op{common_op(), op_type, type, &api};
  op.get_name = [](const OrtCustomOp* self) { return static_cast<const FftConvOp*>(self)->op_type.name.c_str(); };
  op.get_input_type_count = [](const OrtCustomOp* self) {
    return static_cast<const FftConvOp*>(self)->op_type.steps.input_count();
  };
  op.get_input_type = op.get_output_type = [](const OrtCustomOp* self, size_t) {
    return static_cast<const FftConvOp*>(self)->type.element_type;
  };
  op.get_input_characteristic = [](const OrtCustomOp* self, size_t index) {
    const bool is_last = index + 1 == static_cast<const FftConvOp*>(self)->op_type.steps.input_count();
    return is_last && index + 1 == Steps::kResidual ? kOrtOptional : kOrtRequired;  // a bias with nothing behind it
  };
  op.create_kernel_v2 = create_fft_conv;
  op.kernel_compute_v2 = compute_fft_conv;
  op.kernel_destroy = [](void* kernel) { delete static_cast<FftConvKernel*>(kernel); };
  return op;
}

// Made once and kept: ORT holds on to it for as long as there are sessions.
struct Domain {
  std::vector<FftConvOp> convolutions;
  std::vector<TransposedOp> transposed;
  std::vector<FourierOp> transforms = list_fourier_ops();
  OrtCustomOpDomain* domain = nullptr;

  Domain(const OrtApi& api, const char* version) : transposed(list_transposed_ops(api, infers_shapes_safely(version))) {
    for (const OpType& op_type : list_op_types()) {
      for (const NamedType& type : kTypes) convolutions.push_back(make_fft_conv(op_type, type, api));
    }
    for (FftConvOp& op : convolutions)
      op.infer_output_shape =
          infers_shapes_safely(version) && infers_shape(op.op_type.steps) ? infer_fft_conv : nullptr;
    ort::check(api, ort::create_custom_op_domain(api, kDomain, &domain));
    for (const FftConvOp& op : convolutions) ort::check(api, ort::custom_op_domain_add(api, domain, &op));
    for (const TransposedOp& op : transposed) ort::check(api, ort::custom_op_domain_add(api, domain, &op));
    for (const FourierOp& op : transforms) ort::check(api, ort::custom_op_domain_add(api, domain, &op));
  }
};

void register_domain(OrtSessionOptions* options, const OrtApi& api, const char* version) {
  isa_name();       // throws if ONNX_FFT_ISA is wrong
  machine_rates();  // throws if ONNX_FFT_PROFILE is
  stay_loaded();
  static Domain* const domain = new Domain(api, version);  // never destroyed: sessions may outlive static objects
  ort::check(api, ort::add_custom_op_domain(api, options, domain->domain));
}

}  // namespace
}  // namespace onnx_fft

extern "C" ONNX_FFT_EXPORT OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  using namespace onnx_fft;
  if (const OrtApi* api = base->get_api(kOrtApiVersion)) {
    return ort::guard(*api, "onnx_fft", [&] { register_domain(options, *api, base->get_version_string()); });
  }
  const OrtApi* oldest = base->get_api(1);  // has what it takes to report an error
  if (oldest == nullptr) return nullptr;    // no way to report it: the model's own functions compute
  return ort::create_status(*oldest, kOrtInvalidArgument,
                            (std::string("onnx_fft: got ONNX Runtime ") + base->get_version_string() +
                             "; expected 1.17 or newer; install a newer one")
                                .c_str());
}
