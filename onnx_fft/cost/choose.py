"""Which lowering a site gets: one pure function of its geometry and what the caller asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import inf

from onnx_fft.cost.conv import RUNNABLE_DTYPES
from onnx_fft.cost.gains import LEAST_GAIN, describe_basis, is_worst, judged_specs, least_gain, predict_gain
from onnx_fft.cost.growth import OWN_WEIGHT, growth_bytes
from onnx_fft.cost.machines import Machine, machines_for
from onnx_fft.cost.predict import FFTCONV, lowering_seconds, original_seconds
from onnx_fft.errors import NativeUnavailable, Refusal
from onnx_fft.hints import Hint, Option
from onnx_fft.lowering import CUDA, NATIVE, list_lowerings
from onnx_fft.lowering.base import Lowering, Plan
from onnx_fft.model.storage import Storage
from onnx_fft.options import DEFAULTS, LEAST_GROWTH_BYTES, LEAST_MEMORY_BYTES
from onnx_fft.sites.site import Spec
from onnx_fft.sites.spec import ConvSpec
from onnx_fft.sites.transposed import ConvTransposeSpec
from onnx_fft.units import format_size

NEAR_BEST = 1.15
"""Of the plans within this factor of the fastest, which is less than the cost model can tell apart, the smallest is
taken."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """One lowering considered: its best plan, or why it does not apply and what changes that."""

    lowering: str
    plan: Plan | None = None
    seconds: float | None = None
    growth_bytes: int = 0
    reason: str = ""
    hint: Hint = ""
    measured_s: float | None = None
    gain: float = 0.0
    """Predicted speed-up of `plan`, or of what would be the plan if the file might grow so much; see `predict_gain`."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done with one site: `plan` says how it is replaced; None leaves it, and `refusal` says why."""

    plan: Plan | None
    refusal: Refusal | None = None
    conv_seconds: float | None = None
    """Predicted time of the original operator; None if ONNX Runtime does not run it."""
    seconds: float | None = None
    """Predicted time of `plan`."""
    growth_bytes: int = 0
    options: tuple[Alternative, ...] = ()
    reason: str = ""
    """One sentence for the report, whichever way it went."""
    measured_conv_s: float | None = None
    measured_s: float | None = None
    """Measured time of `plan`, or, if the site is left, of the fastest plan that was tried."""
    hint: Hint = ""
    """What would change the decision, if anything does."""
    warning: str = ""
    """What may go wrong with a replacement that the caller insists on."""
    memory_bytes: int = 0
    """What the replacement holds in memory from run to run, beside what is in the file."""
    run_bytes: int = 0
    """What it takes in a run beside that and the tensors; replacements share it."""

    @property
    def saved_s(self) -> float:
        """Seconds a run that `plan` saves alone: measured, or as predicted if nothing was measured."""
        if self.measured_conv_s is not None and self.measured_s is not None:
            return self.measured_conv_s - self.measured_s
        return (self.conv_seconds or 0.0) - (self.seconds or 0.0)


@dataclass(frozen=True, slots=True)
class Request:
    """What the caller asked for: `lowering` is a lowering's name or "auto"; `select` is "auto", "all" or "measure".

    `target` is one of `lowering.TARGETS`: only its lowerings are considered.
    """

    lowering: str = DEFAULTS.lowering
    select: str = DEFAULTS.select
    max_growth_bytes: int = LEAST_GROWTH_BYTES
    max_memory_bytes: int = LEAST_MEMORY_BYTES
    target: str = DEFAULTS.target

    @property
    def is_forced(self) -> bool:
        """Whether a site is replaced even if that does not pay."""
        return self.select == "all" or (self.select == "auto" and self.lowering != "auto")

    def find_lowerings(self, spec: Spec) -> Sequence[Lowering]:
        """The lowerings to choose among, for a site of this kind."""
        return [each for each in list_lowerings(self.target, type(spec)) if self.lowering in ("auto", each.name)]

    @property
    def machines(self) -> tuple[Machine, ...]:
        """What to predict times on; the first is the one to report."""
        return machines_for(self.target)


def choose(spec: Spec, opset: int, request: Request, storage: Storage = OWN_WEIGHT) -> Decision:
    """The decision for one site in a model of the given opset.

    Raises NativeUnavailable if the native library has to predict, and is missing. What is forced needs no prediction.
    """
    try:
        return _choose(spec, opset, request, storage, request.machines)
    except NativeUnavailable:
        if not request.is_forced:
            raise
        return _force(spec, request, storage)


def _force(spec: Spec, request: Request, storage: Storage) -> Decision:
    """The replacement that was asked for, without times, by the first lowering that applies."""
    lowerings = request.find_lowerings(spec)
    obstacles = [lowering.find_obstacle(spec) for lowering in lowerings]
    for lowering, obstacle in zip(lowerings, obstacles, strict=True):
        if not obstacle:
            plan: Plan = lowering.candidates(spec)[0]
            reason = "as asked for; the native library, which is missing, would predict its speed"
            return Decision(plan, growth_bytes=growth_bytes(spec, plan, storage), reason=reason)
    return leave(Refusal("no-lowering", "; ".join(obstacles) or _describe_lack(request)))


@cache
def _choose(spec: Spec, opset: int, request: Request, storage: Storage, machines: tuple[Machine, ...]) -> Decision:
    """`choose`, by predictions for `machines`."""
    options = tuple(_find_best(lowering, spec, opset, request, storage) for lowering in request.find_lowerings(spec))
    conv_s = predict_original(spec, request)
    possible = [option for option in options if option.plan is not None]
    is_wanted = request.is_forced or conv_s is None
    least = 0.0 if is_wanted else least_gain(request.target)
    missed = [option for option in options if option.plan is None and option.gain > 0 and option.gain >= least]
    if not possible:
        reason = "; ".join(option.reason for option in options) or _describe_lack(request)
        hint = next((option.hint for option in options if option.hint), _hint_target(spec, request))
        return leave(Refusal("growth" if missed else "no-lowering", reason, hint), conv_s, options)
    best = max(possible, key=lambda option: option.gain)
    assert best.plan is not None
    basis = describe_basis(spec, best.lowering, best.gain, request.target)
    needed = least_gain(request.target)
    if not is_wanted and best.gain < needed:
        least_needed = LEAST_GAIN if is_worst(spec, best.lowering, best.gain) else needed
        sentence = f"{best.lowering} predicted at {best.gain:.2f}x the speed{basis}, {least_needed}x needed"
        sentence = "; ".join([sentence, *(option.reason for option in missed)])
        return leave(Refusal("growth" if missed else "no-gain", sentence), conv_s, options)
    reason = f"predicted at {best.gain:.2f}x the speed{basis}"
    if conv_s is None:
        own = "ConvTranspose" if isinstance(spec, ConvTransposeSpec) else "Conv"
        reason = f"the original does not load in ONNX Runtime, which has no {spec.dtype} {own} on CPUs; this does"
    return Decision(best.plan, None, conv_s, best.seconds, best.growth_bytes, options, reason)


def predict_original(spec: Spec, request: Request) -> float | None:
    """Seconds of ONNX Runtime's own operator on the machine to report; None if it has none for `spec`."""
    if isinstance(spec, ConvSpec | ConvTransposeSpec) and request.target != CUDA and spec.dtype not in RUNNABLE_DTYPES:
        return None
    return original_seconds(spec, request.machines[0])


def _describe_lack(request: Request) -> str:
    """Why no lowering was considered at all."""
    if request.lowering == "auto":
        return f"target {request.target} has no lowering for it"
    return f"{request.lowering} computes operators of another kind"


def _hint_target(spec: Spec, request: Request) -> Hint:
    """Another target, if only that has a lowering for such sites."""
    is_lacking = not list_lowerings(request.target, type(spec)) and list_lowerings(NATIVE, type(spec))
    return ("set ", Option("target", NATIVE)) if is_lacking else ""


def leave(refusal: Refusal, conv_s: float | None = None, options: tuple[Alternative, ...] = ()) -> Decision:
    """The decision to leave a site as it is."""
    return Decision(None, refusal, conv_s, options=options, reason=refusal.reason, hint=refusal.hint)


def limit_growth(decisions: Sequence[Decision], max_growth_bytes: int) -> list[Decision]:
    """The decisions within the cap: replacements are kept by the time they save a byte, the rest is left after all.

    First come those without which the model does not run.
    """
    result = list(decisions)
    room = max_growth_bytes
    replaced = [position for position, decision in enumerate(decisions) if decision.plan is not None]
    for position in sorted(replaced, key=lambda position: saving_per_byte(decisions[position]), reverse=True):
        decision = decisions[position]
        if decision.growth_bytes <= room:
            room -= max(0, decision.growth_bytes)
            continue
        sentence = (
            f"its replacement adds {format_size(decision.growth_bytes)} and {format_size(room)} are left of the "
            f"{format_size(max_growth_bytes)} the file may grow"
        )
        result[position] = leave_after_all(decision, Refusal("growth", sentence))
    return result


def saving_per_byte(decision: Decision) -> float:
    """Seconds saved for a byte that a replacement adds; what does not run as it is counts most."""
    added = max(0, decision.growth_bytes) + decision.memory_bytes
    return inf if decision.conv_seconds is None else decision.saved_s / max(1, added)


def heed_zeros(decision: Decision, reader: str, dtype: str, *, is_forced: bool) -> Decision:
    """The decision, knowing that the operator `reader` behind the convolution turns on exact zeros ("": none does).

    What is predicted or measured to gain is left alone then. What is forced, by a plan too, or does not run as it is,
    is replaced with a warning: in float32, ONNX Runtime's own Conv would run.
    """
    if not reader or decision.plan is None:
        return decision
    noise = "+-1e-16" if dtype == "float64" else "+-1e-7"
    warning = f"{reader} behind it turns on exact zeros, and a transform makes {noise} of them"
    if decision.conv_seconds is None:
        hint = f"if inputs hold zeros, convert the model to {RUNNABLE_DTYPES[-1]}: then it runs as it is"
        return replace(decision, warning=warning, hint=hint)
    if is_forced:
        return replace(decision, warning=warning)
    return leave(
        Refusal("zeros", warning, ("to replace it all the same, set ", Option("select", "all"))), decision.conv_seconds
    )


def keeps_zeros(spec: Spec, decision: Decision) -> bool:
    """Whether the replacement leaves zero what is zero: the library transforms frames of a DFT basis one by one.

    Where such a convolution gives zeros, its frame is silent, and so is that frame's spectrum. Where an inverse STFT
    gives zeros, all frames that reach the sample are silent, and so is what they add.
    """
    is_fftconv = decision.plan is not None and decision.plan.lowering == FFTCONV
    return is_fftconv and isinstance(spec, ConvSpec | ConvTransposeSpec) and spec.basis_length > 0


def leave_after_all(decision: Decision, refusal: Refusal) -> Decision:
    """The decision to leave a site after all; what was predicted and measured for it stays known."""
    return replace(
        decision,
        plan=None,
        refusal=refusal,
        reason=refusal.reason,
        hint=refusal.hint,
        seconds=None,
        growth_bytes=0,
        memory_bytes=0,
        run_bytes=0,
    )


def _find_best(lowering: Lowering, spec: Spec, opset: int, request: Request, storage: Storage) -> Alternative:
    """The best plan of one lowering, or why there is none."""
    if obstacle := lowering.find_obstacle(spec):
        return Alternative(lowering.name, reason=obstacle)
    needed = lowering.min_opset(spec)
    if opset < needed:
        reason = f"{lowering.name} needs opset {needed}, the model has {opset}"
        return Alternative(lowering.name, reason=reason, hint=("set ", Option("opset", needed)))
    plans: list[Plan] = lowering.candidates(spec)
    sizes = {plan: growth_bytes(spec, plan, storage) for plan in plans}
    small = [plan for plan in plans if sizes[plan] <= request.max_growth_bytes]
    judged = judged_specs(spec, lowering.name)
    first = request.machines[0]
    conv_s = [original_seconds(known, first) for known in judged]
    shares = {
        plan: max(lowering_seconds(known, plan, first) / s for known, s in zip(judged, conv_s, strict=True))
        for plan in small or plans
    }
    fastest = min(shares.values())
    near = [plan for plan in shares if shares[plan] <= NEAR_BEST * fastest]
    best = min(near, key=lambda plan: (sizes[plan], shares[plan]))
    gain = predict_gain(spec, best, request.machines)
    if not small:
        smallest, cap = format_size(min(sizes.values())), format_size(request.max_growth_bytes)
        reason = f"{lowering.name} adds {smallest} at least, the file may grow by {cap}"
        return Alternative(lowering.name, reason=reason, gain=gain)
    seconds = lowering_seconds(spec, best, first)
    return Alternative(lowering.name, best, seconds, sizes[best], gain=gain)
