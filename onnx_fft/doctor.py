"""Does the native library work here, and the CUDA provider? What is installed, and a self-test of one node.

The self-test compares the node with the float64 oracle. Its model carries the model-local function that computes if
the library is absent, as a rewritten model does. So a right result alone does not show that the library computed it:
the profile has to name the library's node too.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from onnx import FunctionProto, GraphProto, ModelProto, TensorProto, helper

from onnx_fft._version import __version__
from onnx_fft.errors import NativeUnavailable, RuntimeUnavailable
from onnx_fft.fourier.oracle import ConvGeometry, conv_direct
from onnx_fft.lowering import find_lowering
from onnx_fft.lowering.base import Ports
from onnx_fft.model.weights import ConvWeights
from onnx_fft.native import library_path, read_origin
from onnx_fft.native.planning import read_isa
from onnx_fft.native.profile import describe_profile
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
    """What was found; `problem` is empty if the native library works."""

    version: str
    python: str
    platform: str
    onnxruntime: str
    """Its version, "" if it is not installed."""
    providers: tuple[str, ...]
    library: str
    origin: str
    """Whether the library is ready-made or was compiled here; "" if that is unknown."""
    isa: str
    profile: str
    """Where the rates by which the native library predicts come from; "" without the library."""
    relative_l2: float | None
    problem: str
    cuda_problem: str
    """Why the CUDA provider does not compute FFTs here, "" if it does; to have none is not a problem."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "ok": not self.problem}


@dataclass(slots=True)
class _Native:
    """What is known of the native library."""

    library: str = ""
    origin: str = ""
    isa: str = ""
    profile: str = ""
    relative_l2: float | None = None
    problem: str = ""


def examine() -> Diagnosis:
    """Look for the library, load it and test it. Never raises for what it finds: that is in `problem`."""
    try:
        ort = import_ort()
    except RuntimeUnavailable as error:
        return _diagnose(_Native(problem=str(error)), "", (), error.problem)
    providers = tuple(ort.get_available_providers())
    return _diagnose(_examine_native(), str(ort.__version__), providers, find_cuda_problem())


def _diagnose(native: _Native, onnxruntime: str, providers: tuple[str, ...], cuda_problem: str) -> Diagnosis:
    return Diagnosis(
        version=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        onnxruntime=onnxruntime,
        providers=providers,
        library=native.library,
        origin=native.origin,
        isa=native.isa,
        profile=native.profile,
        relative_l2=native.relative_l2,
        problem=native.problem,
        cuda_problem=cuda_problem,
    )


def _examine_native() -> _Native:
    """Find the library, ask it for its kernels, and run the self-test."""
    found = _Native()
    try:
        found.library = str(library_path())
        found.origin = read_origin()
        found.isa = read_isa()
        found.profile = describe_profile()
        found.relative_l2, ran = _run_self_test()
        found.problem = _judge_self_test(found.relative_l2, ran)
    except NativeUnavailable as unavailable:
        found.problem = str(unavailable)
    except Exception as failure:  # ORT's exceptions have no common base
        found.problem = f"got an error in the self-test ({failure}); expected a result; please report this"
    return found


def _judge_self_test(relative_l2: float, ran: list[str]) -> str:
    """What is wrong with the self-test's result, "" if nothing is."""
    if not relative_l2 <= RELATIVE_L2:
        problem = f"got a relative L2 error of {relative_l2:.1e} in the self-test; expected at most {RELATIVE_L2:.0e}"
    elif "FFTConv" not in ran:
        problem = f"got the nodes {', '.join(ran) or 'none'} in the profile of the self-test; expected FFTConv"
    else:
        return ""
    return f"{problem}; please report this, with what is printed here"


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
