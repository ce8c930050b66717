"""What `doctor` found, as text: one row a finding."""

from __future__ import annotations

from onnx_fft.doctor import Diagnosis
from onnx_fft.report.text.tables import Drawing, make_table


def draw_diagnosis(diagnosis: Diagnosis) -> list[Drawing]:
    """Versions, providers, the native library and its self-test, the CUDA provider."""
    providers = ", ".join(diagnosis.providers)
    cuda = "an FFT there and back was right" if not diagnosis.cuda_problem else f"not here: {diagnosis.cuda_problem}"
    rows = [
        ("onnx-fft", f"{diagnosis.version} on Python {diagnosis.python}, {diagnosis.platform}"),
        ("onnxruntime", f"{diagnosis.onnxruntime}: {providers}" if diagnosis.onnxruntime else "not installed"),
        ("library", diagnosis.library or "none"),
        ("built", diagnosis.origin or "unknown"),
        ("kernels", diagnosis.isa or "none"),
        ("rates", diagnosis.profile or "none"),
        ("self-test", _describe_test(diagnosis)),
        ("CUDA", cuda),
    ]
    return [make_table(("", ""), rows)]


def _describe_test(diagnosis: Diagnosis) -> str:
    if diagnosis.relative_l2 is None:
        return "not run"
    verdict = "failed" if diagnosis.problem else "passed, computed by the library"
    return f"relative L2 error {diagnosis.relative_l2:.1e} against float64: {verdict}"
