// The dense kernels of one instruction set: like kernels.cpp, this file is compiled once for each.
#include "kernels/dense.h"

#include "kernels/dense_product.h"
#include "kernels/dense_tile.h"

namespace onnx_fft {
namespace ONNX_FFT_ISA {

extern const DenseTable dense_table;
const DenseTable dense_table = {
    {dense_forward<float, Half>, dense_inverse<float, Half>},
    {dense_forward<float, float>, dense_inverse<float, float>},
    {dense_forward<double, double>, dense_inverse<double, double>},
    {dense_forward<float, float>, dense_multiply<float>},
    {dense_forward<double, double>, dense_multiply<double>},
};

}  // namespace ONNX_FFT_ISA
}  // namespace onnx_fft
