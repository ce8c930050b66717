"""The decision that an entry of a plan file stands for."""

from __future__ import annotations

from dataclasses import replace

from onnx_fft.cost.choose import Decision, Request, leave, predict_original
from onnx_fft.cost.growth import OWN_WEIGHT, growth_bytes
from onnx_fft.cost.plan_file import PlannedSite
from onnx_fft.cost.predict import lowering_seconds
from onnx_fft.errors import NativeUnavailable, OpsetError, Refusal
from onnx_fft.hints import Option
from onnx_fft.lowering import find_lowering
from onnx_fft.lowering.base import Plan
from onnx_fft.model.storage import Storage
from onnx_fft.sites.site import Spec


def replay(
    name: str, spec: Spec, opset: int, planned: PlannedSite, request: Request, storage: Storage = OWN_WEIGHT
) -> Decision:
    """The decision for the site `name`; raises OpsetError if the model is too old for it."""
    plan = planned.plan
    conv_s, seconds = _predict(spec, plan, request)
    if plan is None:
        left = leave(Refusal("planned", "left alone by the plan"), conv_s)
        return replace(left, measured_conv_s=planned.measured_conv_s, measured_s=planned.measured_s)
    needed = find_lowering(plan.lowering, type(spec)).min_opset(spec)
    if opset < needed:
        raise OpsetError(
            f"got a plan with {plan.lowering} for {name!r}, which needs opset {needed}; the model has {opset}",
            hint=("set ", Option("opset", needed)),
        )
    return Decision(
        plan,
        None,
        conv_s,
        seconds,
        growth_bytes(spec, plan, storage),
        reason="by the plan",
        measured_conv_s=planned.measured_conv_s,
        measured_s=planned.measured_s,
    )


def _predict(spec: Spec, plan: Plan | None, request: Request) -> tuple[float | None, float | None]:
    """Seconds of the original and of the plan; None without the native library if it is asked: nothing rests on it."""
    try:
        seconds = None if plan is None else lowering_seconds(spec, plan, request.machines[0])
        return predict_original(spec, request), seconds
    except NativeUnavailable:
        return None, None
