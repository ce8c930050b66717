"""Every lowering against the float64 truth in ONNX Runtime, and what its fragments are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from onnx_fft.cost.dft import count_dft
from onnx_fft.fourier.axis import Axis, AxisPlan
from onnx_fft.lowering import find_lowering
from onnx_fft.lowering.base import ConvPlan, Lowering
from onnx_fft.model.io import load_model
from onnx_fft.runtime.contrib import Evaluator
from onnx_fft.runtime.opening import open_runner
from onnx_fft.sites.spec import Activation, ConvSpec
from scripts.shared.conv_models import TENSOR_TYPES
from scripts.shared.running import list_op_types, open_session, run_model
from tests.lowered import (
    PREFIX,
    SPECS,
    Lowered,
    assert_right,
    executed_ops,
    feed_shape,
    lower,
    run_fragment,
)
from tests.marks import with_addends
from tests.strategies import (
    ACTIVATIONS,
    FRAGMENT_LOWERINGS,
    Trial,
    draw_plan,
    make_spec,
    plan_kind,
    spectrum_size,
    trials,
)

TRANSFORMS = {"matmul": {"MatMul": 2}, "dft": {"DFT": 2}, "rfft": {"Rfft": 1, "Irfft": 1}}
"""The operators that a lowering cannot do without: once forward, once back."""

DOMAINS = {"matmul": {""}, "dft": {""}, "rfft": {"", "com.microsoft"}}

MATMUL, DFT = find_lowering("matmul"), find_lowering("dft")
by_lowering = pytest.mark.parametrize("lowering", FRAGMENT_LOWERINGS, ids=lambda lowering: lowering.name)

by_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def lower_trial(trial: Trial) -> Lowered:
    return lower(
        trial.find_lowering(),
        trial.spec,
        trial.plan,
        trial.opset,
        seed=trial.seed,
        has_bias_input=trial.has_bias_input,
    )


TRIALS = 200
"""So many reach every corner, see below."""


@with_addends
@pytest.mark.slow
@settings(max_examples=TRIALS)
@given(trials())
def test_any_convolution_is_exact(trial: Trial) -> None:
    lowered = lower_trial(trial)
    runner = open_runner(load_model(lowered.model))
    rng = np.random.default_rng(trial.seed)
    for shape in trial.shapes:
        feeds = lowered.make_feeds(shape, rng)
        assert_right(lowered, feeds, runner.run(feeds)["y"])
    assert runner.engine == ("onnxruntime and NumPy" if trial.lowering == "rfft" else "onnxruntime")


REACHED: dict[str, Callable[[Trial], bool]] = {
    "factored": lambda t: any(axis.columns > 1 and not axis.whole for axis in t.plan.axes),
    "dense whole": lambda t: any(axis.columns == 1 and axis.whole and axis.dft_length > 1 for axis in t.plan.axes),
    "batch 0, dynamic extents": lambda t: None in t.spec.extents and t.shapes[0][0] == 0,
    "one output": lambda t: 1 in t.spec.output_extents and max(t.spec.kernel_shape) > 5,
    "grouped, two tiled axes": lambda t: (
        1 < t.spec.group < t.spec.in_channels and sum(not axis.whole for axis in t.plan.axes) > 1
    ),
    "rank 4": lambda t: t.spec.rank == 4,
    "padded at run time beside other pads": lambda t: bool(t.spec.auto_pad and any(t.spec.pads_begin)),
    "stride and dilation": lambda t: any(
        s > 1 and d > 1 and k > 1 for s, d, k in zip(t.spec.strides, t.spec.dilations, t.spec.kernel_shape, strict=True)
    ),
}


@pytest.mark.slow
def test_random_trials_reach_every_corner() -> None:
    missing = set(REACHED)

    @settings(max_examples=TRIALS, derandomize=True, database=None)
    @given(trials())
    def look(trial: Trial) -> None:
        missing.difference_update([name for name in missing if REACHED[name](trial)])

    look()
    assert not missing


@pytest.mark.slow
@settings(max_examples=100)
@given(trials())
def test_fragments_hold_standard_operators_and_own_names(trial: Trial) -> None:
    fragment = lower_trial(trial).fragment
    ports = {"x", "y", "sum", "bias", ""}
    made = [name for node in fragment.nodes for name in node.output]
    read = {name for node in fragment.nodes for name in node.input}
    constants = [tensor.name for tensor in fragment.initializers]
    assert {node.domain for node in fragment.nodes} <= DOMAINS[trial.lowering]
    assert "Conv" not in {node.op_type for node in fragment.nodes}
    assert made.count("y") == 1 and "x" not in made
    assert len(set(made + constants)) == len(made + constants)
    node_names = [node.name for node in fragment.nodes]
    assert len(set(node_names)) == len(node_names)
    names = {*made, *read, *constants, *node_names} - ports
    assert all(name.startswith(PREFIX) for name in names)
    assert set(constants) <= read, "a constant that nothing reads"
    assert set(made) <= read | {"y"}, "a node that nothing reads"


@by_lowering
@by_spec
def test_the_frequency_domain_is_what_runs(lowering: Lowering, spec: ConvSpec, rng: np.random.Generator) -> None:
    plan = lowering.candidates(spec)[0]
    lowered = lower(lowering, spec, plan, 17)
    ran = executed_ops(lowered.model, lowered.make_feeds(feed_shape(spec), rng))
    assert all(ran[op_type] >= count for op_type, count in TRANSFORMS[lowering.name].items())
    assert not {name for name in ran if "Conv" in name}


@by_spec
@pytest.mark.parametrize("opset", [17, 20])
def test_one_sided_dft_reads_as_many_samples_as_it_transforms(spec: ConvSpec, opset: int) -> None:
    """OpenVINO appends no zeros to a real signal."""
    for plan in DFT.candidates(spec):
        inferred = onnx.shape_inference.infer_shapes(lower(DFT, spec, plan, opset).model, strict_mode=True)
        (node,) = (node for node in inferred.graph.node if any(a.name == "onesided" and a.i for a in node.attribute))
        (signal,) = (value for value in inferred.graph.value_info if value.name == node.input[0])
        (length,) = (tensor for tensor in inferred.graph.initializer if tensor.name == node.input[1])
        assert signal.type.tensor_type.shape.dim[-2].dim_value == numpy_helper.to_array(length)


def test_zeros_before_the_one_sided_dft_are_counted() -> None:
    """Of two convolutions in 16 points, 14 samples long and 16: what a Pad reads and writes, and it."""
    short, full = (make_spec([Axis(2, extent=3), Axis(3, extent=extent)], (5, 7, 1)) for extent in (14, 16))
    plan = ConvPlan("dft", (AxisPlan(4, 1, whole=True), AxisPlan(16, 1, whole=True)))
    DFT.check_plan(short, plan)
    DFT.check_plan(full, plan)
    less, more = count_dft(short, plan).operators, count_dft(full, plan).operators
    framing = 8 * (5 * 3 * 2 + 7 * 2 * 2)  # of the two more samples and outputs of each line
    assert less.serial_bytes - more.serial_bytes == 4 * 5 * 3 * (14 + 16) - framing
    assert less.operators - more.operators == 1


@by_lowering
@by_spec
def test_oldest_opset_is_enough(lowering: Lowering, spec: ConvSpec, rng: np.random.Generator) -> None:
    for plan in (lowering.candidates(spec)[0], lowering.candidates(spec)[-1]):
        lowered = lower(lowering, spec, plan, lowering.min_opset(spec))
        feeds = lowered.make_feeds(feed_shape(spec), rng)
        assert_right(lowered, feeds, run_fragment(lowered.model, feeds)[0])


@by_lowering
@by_spec
@pytest.mark.parametrize("opset", [17, 20, onnx.defs.onnx_opset_version()])
def test_reference_evaluator_agrees(lowering: Lowering, spec: ConvSpec, opset: int, rng: np.random.Generator) -> None:
    lowered = lower(lowering, spec, lowering.candidates(spec)[0], opset)
    feeds = lowered.make_feeds(feed_shape(spec), rng)
    (y,) = Evaluator(lowered.model).run(None, feeds)
    assert_right(lowered, feeds, np.asarray(y))


@by_lowering
@pytest.mark.parametrize("activation", [None, *ACTIVATIONS], ids=lambda a: a.op_type if a else "none")
def test_bias_sum_and_activation_are_those_of_fused_conv(
    lowering: Lowering, activation: Activation | None, rng: np.random.Generator
) -> None:
    spatial = [Axis(3, pad_begin=1, pad_end=1, extent=8)] * 2
    spec = make_spec(spatial, (4, 6, 2), has_bias=True, activation=activation, has_sum=True)
    lowered = lower(lowering, spec, lowering.candidates(spec)[0], 17)
    feeds = lowered.make_feeds(feed_shape(spec), rng)
    (expected,) = run_model(fused_conv_model(lowered), feeds)
    np.testing.assert_allclose(run_fragment(lowered.model, feeds)[0], expected, atol=1e-5)


def test_the_bounds_of_clip_are_scalars() -> None:
    spec = make_spec([Axis(3, extent=8)], (1, 1, 1), activation=Activation("Clip", (-0.5, 0.5)))
    model = lower(MATMUL, spec, MATMUL.candidates(spec)[0], 17).model
    (clip,) = (node for node in model.graph.node if node.op_type == "Clip")
    bounds = [tensor for tensor in model.graph.initializer if tensor.name in clip.input[1:]]
    assert [list(tensor.dims) for tensor in bounds] == [[], []]


def fused_conv_model(lowered: Lowered) -> onnx.ModelProto:
    """ONNX Runtime's own FusedConv of the same weights."""
    spec = lowered.spec
    assert lowered.bias is not None
    fused: dict[str, Any] = {"pads": (*spec.pads_begin, *spec.pads_end), "group": spec.group}
    if spec.activation is not None:
        fused |= {"activation": spec.activation.op_type, "activation_params": spec.activation.params or None}
    fused = {name: value for name, value in fused.items() if value is not None}
    node = helper.make_node("FusedConv", ["x", "w", "b", "sum"], ["y"], domain="com.microsoft", **fused)
    tensors = [numpy_helper.from_array(lowered.weight, "w"), numpy_helper.from_array(lowered.bias, "b")]
    graph = helper.make_graph([node], "fused", lowered.model.graph.input, lowered.model.graph.output, tensors)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize("op_type, opset", [("LeakyRelu", 27), ("HardSigmoid", 27), ("Clip", 10)])
def test_runtime_still_lacks_float64_activations(op_type: str, opset: int) -> None:
    """If this fails, the limit in strategies.py can go."""
    attributes: dict[str, Any] = {"min": 0.0, "max": 1.0} if op_type == "Clip" else {}
    dtype = TENSOR_TYPES["float64"]
    x, y = (helper.make_tensor_value_info(name, dtype, [1]) for name in ("x", "y"))
    graph = helper.make_graph([helper.make_node(op_type, ["x"], ["y"], **attributes)], "one", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    with pytest.raises(Exception, match=r"NOT_IMPLEMENTED|opset"):  # 1.17 does not know opset 27
        open_session(model)


@pytest.mark.slow
@by_lowering
@pytest.mark.parametrize("extent", [48, None], ids=["static", "dynamic"])
def test_every_pair_of_plan_kinds(lowering: Lowering, extent: int | None, rng: np.random.Generator) -> None:
    """In two dimensions, the smallest plan of each combination of tiled or whole, one matrix or factored."""
    spatial = [Axis(19, 2, 1, 5, 9, extent), Axis(18, 1, 2, 20, 3, extent)]
    if extent is not None:
        spatial[1] = Axis(18, 1, 1, 20, 3, extent)  # a dilated axis is never whole
    spec = make_spec(spatial, (4, 2, 2), has_bias=True)
    smallest: dict[tuple[tuple[bool, bool], ...], ConvPlan] = {}
    for plan in sorted(lowering.candidates(spec), key=lambda plan: spectrum_size(spec, plan)):
        smallest.setdefault(plan_kind(plan), plan)
    one_axis = {"matmul": 4, "dft": 2, "rfft": 2}[lowering.name] // (1 if extent else 2)
    assert len(smallest) == one_axis**2
    for plan in smallest.values():
        lowered = lower(lowering, spec, plan, 17)
        feeds = lowered.make_feeds(feed_shape(spec, extent=31), rng)
        assert_right(lowered, feeds, run_fragment(lowered.model, feeds)[0])


@pytest.mark.slow
@by_lowering
@settings(max_examples=20)
@given(data=st.data())
def test_every_plan_gives_the_same(lowering: Lowering, data: st.DataObject) -> None:
    """One convolution, two plans drawn from the candidates: both right."""
    trial = data.draw(trials())
    assume(not lowering.find_obstacle(trial.spec))
    assume(lowering.name != "rfft" or trial.shapes[0][0] > 0)
    for _ in range(2):
        plan = data.draw(st.composite(draw_plan)(lowering, trial.spec))
        lowered = lower(lowering, trial.spec, plan, lowering.min_opset(trial.spec), seed=trial.seed)
        feeds = lowered.make_feeds(trial.shapes[0], np.random.default_rng(trial.seed))
        assert_right(lowered, feeds, run_fragment(lowered.model, feeds)[0])


def test_building_twice_gives_the_same_bytes() -> None:
    for lowering in FRAGMENT_LOWERINGS:
        for spec in SPECS.values():
            plan = lowering.candidates(spec)[0]
            first, second = (lower(lowering, spec, plan, 17).model.SerializeToString() for _ in range(2))
            assert first == second


def test_no_conv_is_left_in_the_models() -> None:
    for lowering in FRAGMENT_LOWERINGS:
        for spec in SPECS.values():
            ops = list_op_types(lower(lowering, spec, lowering.candidates(spec)[0], 17).model)
            assert not {name for name in ops if "Conv" in name}
