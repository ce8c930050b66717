"""The parts of `onnx_fft.validate`: feeds, comparison and tolerances, oracle per Conv, bisect, probes."""
