"""Models run: by ONNX Runtime, by ONNX's evaluator, or by both in pieces, with the libraries they need."""
