"""Reading, searching and changing ONNX models; nothing here knows about Fourier."""
