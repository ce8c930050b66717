// The functions that Python's planner calls: the library's own predictions, and the rates of this machine.
#include "ops/planning.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/convolution.h"
#include "engine/fourier.h"
#include "engine/machine.h"
#include "kernels/isa.h"
#include "ops/export.h"
#include "planner/basis.h"
#include "planner/choice.h"
#include "planner/dense_plan.h"
#include "planner/frames.h"
#include "planner/transposed.h"

namespace onnx_fft {
namespace {

static_assert(kUnits <= sizeof(OnnxFftPrediction::work) / sizeof(double), "room for all units");

void copy_text(const std::string& text, char* target, size_t size) { std::snprintf(target, size, "%s", text.c_str()); }

std::string describe(const ConvPlan& plan) {
  if (plan.frames) {
    return "frames " + std::to_string(plan.frames->length) + ", " +
           std::to_string(plan.frames->signals * plan.frames->frames) + " frames, in lanes";
  }
  std::string lengths;
  for (const AxisPlan& axis : plan.dense ? plan.dense->axes : plan.axes)
    lengths += (lengths.empty() ? "" : "x") + std::to_string(axis.length);
  if (plan.dense) {
    const std::string form = plan.dense->form == DenseForm::kGauss ? "dense by Gauss " : "dense ";
    return form + lengths + ", " + std::to_string(plan.dense->lines() * plan.dense->line_tiles()) +
           " tiles, blocks of " + std::to_string(plan.dense->block);
  }
  const char* const kind = plan.direct ? "direct" : plan.is_elementwise() ? "elementwise" : "summed";
  const char* const lanes = plan.lanes == Lanes::kChannels ? "channels" : "tiles";
  return std::string(kind) + " " + lengths + ", " + std::to_string(plan.batch * plan.tiles) + " tiles, " + lanes +
         " in lanes";
}

std::string describe(const OverlapPlan& plan) {
  return "inverse frames " + std::to_string(plan.length) + ", " + std::to_string(plan.signals * plan.frames) +
         " frames, in lanes";
}

ConvAttributes attributes_of(const OnnxFftConv& conv) {
  if (conv.rank < 1 || conv.rank > kMaxRank) throw std::invalid_argument("got rank " + std::to_string(conv.rank));
  ConvAttributes a;
  a.rank = static_cast<int>(conv.rank);
  a.group = conv.group;
  for (int axis = 0; axis < a.rank; ++axis) {
    a.kernel[axis] = conv.kernel[axis];
    a.strides[axis] = conv.strides[axis];
    a.dilations[axis] = conv.dilations[axis];
    a.pads_begin[axis] = conv.pads_begin[axis];
    a.pads_end[axis] = conv.pads_end[axis];
  }
  return a;
}

int lanes_of(const OnnxFftConv& conv) {
  const int64_t bytes = conv.vector_bytes > 0 ? conv.vector_bytes : kernels().vector_bytes;
  return static_cast<int>(bytes / (conv.element_bytes == 8 ? 8 : 4));
}

void report(const OnnxFftConv& conv, const Choice& choice, const std::string& plan, OnnxFftPrediction* prediction) {
  const double wider = conv.element_bytes == 8 ? 2 : 1;  // the planner counts bytes in float32
  prediction->seconds = choice.seconds;
  prediction->kernel_seconds = choice.kernel_seconds;
  prediction->model_seconds = choice.model_seconds;
  prediction->border_seconds = choice.border_seconds;
  prediction->weight_bytes = wider * choice.weight_bytes;
  prediction->scratch_bytes = wider * choice.scratch_bytes;
  prediction->flops = choice.flops;
  std::memcpy(prediction->work, choice.work.of, sizeof choice.work.of);
  copy_text(plan, prediction->plan, sizeof prediction->plan);
}

void predict(const OnnxFftConv& conv, const Rates& rates, OnnxFftPrediction* prediction) {
  const ConvAttributes attributes = attributes_of(conv);
  std::vector<int64_t> x{conv.batch, conv.in_channels}, y{conv.batch, conv.out_channels};
  for (int axis = 0; axis < attributes.rank; ++axis) {
    const int64_t room = conv.extents[axis] + conv.pads_begin[axis] + conv.pads_end[axis] - attributes.span(axis);
    if (room < 0) throw std::invalid_argument("got an input shorter than the kernel");
    x.push_back(conv.extents[axis]);
    y.push_back(room / conv.strides[axis] + 1);
  }
  count_elements(x.data(), attributes.rank + 2);
  count_elements(y.data(), attributes.rank + 2);
  const Choice choice = choose_execution(attributes, x.data(), y.data(), conv.in_channels / conv.group,
                                         conv.out_channels, conv.basis_length, lanes_of(conv), rates);
  report(conv, choice, describe(choice.plan), prediction);
}

void predict_transposed(const OnnxFftConvTranspose& asked, const Rates& rates, OnnxFftPrediction* prediction) {
  const OnnxFftConv& conv = asked.conv;
  TransposedAttributes attributes{attributes_of(conv)};
  std::copy_n(asked.output_padding, kMaxRank, attributes.output_padding);
  std::vector<int64_t> x{conv.batch, conv.in_channels};
  x.insert(x.end(), conv.extents, conv.extents + attributes.conv.rank);
  count_elements(x.data(), attributes.conv.rank + 2);
  const std::vector<int64_t> y = transposed_shape(attributes, x.data(), conv.out_channels);
  const TransposedChoice choice = choose_transposed(attributes, x.data(), y.data(), conv.in_channels / conv.group,
                                                    conv.out_channels, conv.basis_length, lanes_of(conv), rates);
  report(conv, choice, choice.overlap != nullptr ? describe(*choice.overlap) : describe(choice.plan), prediction);
}

DType dtype_of(int64_t element_bytes) {
  if (element_bytes == 8) return DType::kFloat64;
  return element_bytes == 2 ? DType::kFloat16 : DType::kFloat32;
}

FourierBytes count_bytes(const OnnxFftDft& asked) {
  FourierForm form = asked.parts == 1 ? FourierForm::kReal : FourierForm::kComplex;
  if (asked.inverse != 0 && asked.onesided != 0) form = FourierForm::kHalf;
  const FourierSpec spec{asked.length, form, asked.inverse != 0, asked.onesided != 0};
  const FourierLayout layout = lay_out_axis(asked.outer, asked.samples, asked.inner, spec.in_parts());
  const int64_t vector_bytes = asked.vector_bytes > 0 ? asked.vector_bytes : kernels().vector_bytes;
  return count_engine_bytes(spec, dtype_of(asked.element_bytes), layout, static_cast<int>(vector_bytes));
}

template <typename Question>
int32_t answer(void (*predict)(const Question&, const Rates&, OnnxFftPrediction*), const Question& question,
               const double* seconds_per_unit, OnnxFftPrediction* prediction) {
  std::memset(prediction, 0, sizeof *prediction);
  try {
    Rates rates;
    std::memcpy(rates.of, seconds_per_unit, sizeof rates.of);
    predict(question, rates, prediction);
    return 0;
  } catch (const std::exception& error) {
    copy_text(error.what(), prediction->plan, sizeof prediction->plan);
    return 1;
  }
}

}  // namespace
}  // namespace onnx_fft

extern "C" {

// 0, or 1 with a sentence in `prediction->plan`. `seconds_per_unit`: the machine's rates, in the order of the units.
ONNX_FFT_EXPORT int32_t OnnxFftPredict(const OnnxFftConv* conv, const double* seconds_per_unit,
                                       OnnxFftPrediction* prediction) {
  return onnx_fft::answer(onnx_fft::predict, *conv, seconds_per_unit, prediction);
}

// The same of a transposed convolution, and of ONNX Runtime's ConvTranspose.
ONNX_FFT_EXPORT int32_t OnnxFftPredictTransposed(const OnnxFftConvTranspose* conv, const double* seconds_per_unit,
                                                 OnnxFftPrediction* prediction) {
  return onnx_fft::answer(onnx_fft::predict_transposed, *conv, seconds_per_unit, prediction);
}

// What a node for these DFTs takes: `bytes[0]` for its tables, `bytes[1]` more in a run, beside the tensors. 0, or 1
// for what no node computes.
ONNX_FFT_EXPORT int32_t OnnxFftDftBytes(const OnnxFftDft* dft, double* bytes) {
  try {
    if (dft->length < 1) return 1;
    const onnx_fft::FourierBytes found = onnx_fft::count_bytes(*dft);
    bytes[0] = found.tables;
    bytes[1] = found.scratch;
    return 0;
  } catch (const std::exception&) {
    return 1;
  }
}

// The length of the DFT whose windowed basis the weights [rows, taps] are, stored in elements of so many bytes; 0 if
// they are none.
ONNX_FFT_EXPORT int64_t OnnxFftBasisLength(const double* weights, int64_t rows, int64_t taps, int64_t element_bytes) {
  try {
    const auto basis = onnx_fft::recognize_basis(weights, rows, taps, onnx_fft::dtype_of(element_bytes));
    return basis != nullptr ? basis->length : 0;
  } catch (const std::exception&) {
    return 0;
  }
}

// How many units there are and what they are called; nullptr from there on.
ONNX_FFT_EXPORT const char* OnnxFftUnitName(int32_t unit) {
  return unit >= 0 && unit < onnx_fft::kUnits ? onnx_fft::kUnitNames[unit] : nullptr;
}

// The rates of this machine: measured anew (in well under a second), or those that nodes decide by. 0, or 1 with a
// sentence in `problem`.
ONNX_FFT_EXPORT int32_t OnnxFftRates(int32_t measure, double* seconds_per_unit, char* problem, int64_t problem_bytes) {
  try {
    const onnx_fft::Rates rates = measure != 0 ? onnx_fft::measure_rates() : onnx_fft::machine_rates();
    std::memcpy(seconds_per_unit, rates.of, sizeof rates.of);
    return 0;
  } catch (const std::exception& error) {
    onnx_fft::copy_text(error.what(), problem, static_cast<size_t>(problem_bytes));
    return 1;
  }
}

// The instruction set in use.
ONNX_FFT_EXPORT int32_t OnnxFftIsa(char* name, int64_t bytes) {
  try {
    onnx_fft::copy_text(onnx_fft::isa_name(), name, static_cast<size_t>(bytes));
    return 0;
  } catch (const std::exception& error) {
    onnx_fft::copy_text(error.what(), name, static_cast<size_t>(bytes));
    return 1;
  }
}
}
