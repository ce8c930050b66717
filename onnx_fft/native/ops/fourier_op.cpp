#include "ops/fourier_op.h"

#include <string>

#include "ops/fourier_node.h"
#include "ops/matmul_node.h"
#include "ops/ort.h"

namespace onnx_fft {
namespace {

const FourierOp& self_of(const OrtCustomOp* op) { return *static_cast<const FourierOp*>(op); }

template <typename Node>
struct Traits;

template <>
struct Traits<DftNode> {
  static constexpr char kName[] = "DFT";
  static constexpr size_t kInputs = 2;
  static bool is_length(size_t index) { return index == DftNode::kLength; }
};

// An STFT and what is made of its bins, which is in the name: see op.cpp.
template <BinForm form>
struct StftOf : StftNode {
  StftOf(const OrtApi& api, const ort::NodeInfo& node, DType dtype) : StftNode(api, node, dtype, form) {}
};

template <BinForm form>
struct Traits<StftOf<form>> {
  static constexpr const char* kName = form == BinForm::kPower       ? "STFTPower"
                                       : form == BinForm::kMagnitude ? "STFTMagnitude"
                                                                     : "STFT";
  static constexpr size_t kInputs = 4;
  static bool is_length(size_t index) { return index == StftNode::kStep || index == StftNode::kLength; }
};

template <>
struct Traits<MatMulNode> {
  static constexpr char kName[] = "FFTMatMul";
  static constexpr size_t kInputs = 2;
  static bool is_length(size_t) { return false; }
};

// What ORT holds from the creation of a kernel until it destroys it.
template <typename Node>
struct Kernel {
  const OrtApi& api;
  std::string where;
  Node node;
};

template <typename Node>
OrtStatus* create_kernel(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info, void** kernel) {
  *kernel = nullptr;
  std::string where = Traits<Node>::kName;
  return ort::guard(*api, where, [&] {
    const ort::NodeInfo node(*api, info);
    if (!node.name().empty()) where += " '" + node.name() + "'";
    *kernel = new Kernel<Node>{*api, where, {*api, node, self_of(op).type.dtype}};
  });
}

template <typename Node>
OrtStatus* compute(void* kernel, OrtKernelContext* context) {
  const auto& self = *static_cast<const Kernel<Node>*>(kernel);
  return ort::guard(self.api, self.where, [&] { self.node.compute(context); });
}

// Output shapes are not inferred: most depend on the values of inputs, which ORT does not show at that time.
template <typename Node>
FourierOp make_op(const NamedType& type) {
  FourierOp op{common_op(), type};
  op.get_name = [](const OrtCustomOp*) { return Traits<Node>::kName; };
  op.get_input_type_count = [](const OrtCustomOp*) { return Traits<Node>::kInputs; };
  op.get_input_type = [](const OrtCustomOp* self, size_t index) {
    return Traits<Node>::is_length(index) ? kOrtInt64 : self_of(self).type.element_type;
  };
  op.get_output_type = [](const OrtCustomOp* self, size_t) { return self_of(self).type.element_type; };
  op.get_input_characteristic = [](const OrtCustomOp*, size_t) { return kOrtRequired; };
  op.create_kernel_v2 = create_kernel<Node>;
  op.kernel_compute_v2 = compute<Node>;
  op.kernel_destroy = [](void* kernel) { delete static_cast<Kernel<Node>*>(kernel); };
  return op;
}

}  // namespace

std::vector<FourierOp> list_fourier_ops() {
  std::vector<FourierOp> ops;
  for (const NamedType& type : kTypes) {
    ops.push_back(make_op<DftNode>(type));
    ops.push_back(make_op<StftOf<BinForm::kParts>>(type));
    ops.push_back(make_op<StftOf<BinForm::kPower>>(type));
    ops.push_back(make_op<StftOf<BinForm::kMagnitude>>(type));
    ops.push_back(make_op<MatMulNode>(type));
  }
  return ops;
}

}  // namespace onnx_fft
