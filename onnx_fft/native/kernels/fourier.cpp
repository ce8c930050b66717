// The Fourier kernels of one instruction set: like kernels.cpp, this file is compiled once for each.
#include "kernels/fourier.h"

#include "kernels/fourier_lines.h"
#include "kernels/fourier_long.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

extern const FourierTable fourier_table;
const FourierTable fourier_table = {
    {transform_lines<float>, transform_columns<float>, transform_rows<float>, separate_long<float>, join_long<float>,
     multiply_samples<float>},
    {transform_lines<double>, transform_columns<double>, transform_rows<double>, separate_long<double>,
     join_long<double>, multiply_samples<double>},
};

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
