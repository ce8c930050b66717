"""The mathematics of convolution in the frequency domain. NumPy only; knows nothing about ONNX."""
