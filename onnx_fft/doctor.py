"""What there is to run FFT convolutions with, and a self-test: one node against the float64 oracle, and the profile.

The self-test's model carries the model-local function that computes where the library is absent, as a rewritten model
does: so a right result alone would not show that the library computed it, and the profile has to name its node.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from onnx import FunctionProto, GraphProto, ModelProto, TensorProto, helper

from onnx_fft._version import __version__
from onnx_fft.errors import NativeUnavailable
from onnx_fft.fourier.oracle import ConvGeometry, conv_direct
from onnx_fft.lowering import find_lowering
from onnx_fft.lowering.base import Ports
from onnx_fft.model.weights import ConvWeights
from onnx_fft.native import library_path
from onnx_fft.ort import import_ort
from onnx_fft.provenance import OPERATOR_DOMAIN
from onnx_fft.runtime.cuda import find_cuda_problem
from onnx_fft.runtime.profile import run_profiled
from onnx_fft.session import InferenceSession
from onnx_fft.sites.spec import ConvSpec

SEED = 20260101
CHANNELS, KERNEL, EXTENT = 8, 21, 48
PAD = KERNEL // 2
"""A depthwise convolution large enough to be computed by FFT, and small enough to be done in a moment."""

RELATIVE_L2 = 2e-6
"""A float32 FFT of this size is at 2e-7 of the oracle; a wrong tap or bin is at 1e-2 and more."""

OPSET, IR_VERSION = 15, 8
FFTCONV = find_lowering("fftconv")


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found; `problem` is empty where the native library works."""

    version: str
    python: str
    onnxruntime: str
    providers: tuple[str, ...]
    library: str
    isa: str
    relative_l2: float | None
    problem: str
    cuda_problem: str
    """Why the CUDA provider does not compute FFTs here, "" where it does; not having one is no problem."""

    def describe(self) -> list[str]:
        """One line a finding."""
        test = "not run"
        if self.relative_l2 is not None:
            verdict = "failed" if self.problem else "passed, computed by the library"
            test = f"relative L2 error {self.relative_l2:.1e} against float64: {verdict}"
        cuda = "an FFT there and back was right" if not self.cuda_problem else f"not here: {self.cuda_problem}"
        return [
            f"onnx-fft     {self.version} on Python {self.python}, {platform.platform()}",
            f"onnxruntime  {self.onnxruntime}: {', '.join(self.providers)}",
            f"library      {self.library or 'none'}",
            f"kernels      {self.isa or 'none'}",
            f"self-test    {test}",
            f"CUDA         {cuda}",
        ]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "ok": not self.problem}


def examine() -> Diagnosis:
    """Look for the library, load it and test it. Never raises for what it finds: that is in `problem`."""
    ort = import_ort()
    library, isa, problem = "", "", ""
    error: float | None = None
    try:
        library = str(library_path())
        isa = read_isa()
        error, ran = _run_self_test()
        if not error <= RELATIVE_L2:
            problem = f"got a relative L2 error of {error:.1e} in the self-test; expected at most {RELATIVE_L2:.0e}"
        elif "FFTConv" not in ran:
            problem = f"got the nodes {', '.join(ran) or 'none'} in the profile of the self-test; expected FFTConv"
        if problem:
            problem += "; please report this, with what is printed here"
    except NativeUnavailable as unavailable:
        problem = str(unavailable)
    except Exception as failure:  # ORT's exceptions have no common base
        problem = f"got an error in the self-test ({failure}); expected a result; please report this"
    return Diagnosis(
        version=__version__,
        python=platform.python_version(),
        onnxruntime=str(ort.__version__),
        providers=tuple(ort.get_available_providers()),
        library=library,
        isa=isa,
        relative_l2=error,
        problem=problem,
        cuda_problem=find_cuda_problem(),
    )


def read_isa() -> str:
    """The instruction set whose kernels the library uses here: "baseline", "avx2", "avx512"."""
    node = helper.make_node("LibraryInfo", [], ["name"], domain=OPERATOR_DOMAIN)
    graph = helper.make_graph(
        [node], "info", [], [helper.make_tensor_value_info("name", TensorProto.UINT8, ["length"])]
    )
    (name,) = InferenceSession(_make_model(graph)).run(None, {})
    return bytes(name).decode()


def _run_self_test() -> tuple[float, list[str]]:
    """The relative L2 error, and the op types that ONNX Runtime's profile names."""
    rng = np.random.default_rng(SEED)
    x = rng.standard_normal((1, CHANNELS, EXTENT, EXTENT)).astype(np.float32)
    weight, bias = rng.standard_normal((CHANNELS, 1, KERNEL, KERNEL)), rng.standard_normal(CHANNELS)
    weight, bias = (values.astype(np.float32).astype(np.float64) for values in (weight, bias))
    model = _lower(ConvWeights(weight, bias))
    (y,), nodes = run_profiled(lambda options: InferenceSession(model, options), {"x": x})
    expected = conv_direct(x, weight, bias, ConvGeometry(CHANNELS, (1, 1), (1, 1), (PAD, PAD), (PAD, PAD)))
    error = float(np.linalg.norm(y - expected) / np.linalg.norm(expected))
    return error, sorted({node.op_type for node in nodes})


def _lower(weights: ConvWeights) -> ModelProto:
    """The convolution as the lowering writes it."""
    spec = ConvSpec(
        batch=1,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        group=CHANNELS,
        extents=(EXTENT, EXTENT),
        kernel_shape=(KERNEL, KERNEL),
        strides=(1, 1),
        dilations=(1, 1),
        pads_begin=(PAD, PAD),
        pads_end=(PAD, PAD),
        dtype="float32",
        has_bias=True,
    )
    (plan,) = FFTCONV.candidates(spec)
    fragment = FFTCONV.build(spec, plan, weights, Ports("x", "y", "", OPSET))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, CHANNELS, EXTENT, EXTENT]) for name in "xy"]
    graph = helper.make_graph(fragment.nodes, "self_test", values[:1], values[1:], fragment.initializers)
    return _make_model(graph, fragment.functions)


def _make_model(graph: GraphProto, functions: Sequence[FunctionProto] = ()) -> ModelProto:
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(OPERATOR_DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, functions=functions)
