"""Results as people see them: text, pages and charts.

Nothing but `describe` is imported with the package: what draws needs rich, jinja2 or Matplotlib, and is imported when
it is used.
"""

from __future__ import annotations


def describe(result: object) -> str:
    """A Report, Validation, Benchmark or Diagnosis as text to print, options as Python names them."""
    from onnx_fft.report.text import drawing

    return drawing.describe(result)
