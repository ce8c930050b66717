"""One input of the fuzzer, drawn from its seed alone: files in a folder, and how they are rewritten."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from onnx import ModelProto

from onnx_fft.lowering import TARGETS
from onnx_fft.options import SELECTIONS
from scripts.fuzz.files import DATA_NAME, move_data, mutate_bytes, mutate_external, mutate_plan, replace_by_link
from scripts.fuzz.meaning import mutate_meaning
from scripts.fuzz.pool import draw_valid
from scripts.fuzz.reflection import EXTREME_INTEGERS, mutate_field

MODEL_NAME, PLAN_NAME = "model.onnx", "plan.json"
MOST_MUTATIONS = 4


@dataclass
class Input:
    """`valid` is the model before the mutations, which `done` lists; `files` lie beside `model.onnx`.

    `choices` are options of a rewrite. `seed_after` draws what can only be drawn later.
    """

    seed: int
    valid: ModelProto
    model: bytes
    files: dict[str, bytes]
    choices: dict[str, Any]
    has_plan: bool
    seed_after: int
    done: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> Path:
        """Write the files; returns the path of the model."""
        rng = Random(self.seed_after)
        path = folder / MODEL_NAME
        path.write_bytes(self.model)
        for name, data in self.files.items():
            (folder / name).write_bytes(data)
        if self.files and rng.random() < 0.1:
            self.done.append(replace_by_link(folder / DATA_NAME, rng))
        return path

    def write_plan(self, folder: Path, plan: Any) -> Path:
        """Write a mutation of `plan`."""
        path = folder / PLAN_NAME
        path.write_bytes(mutate_plan(plan, Random(self.seed_after + 1)))
        return path


def draw_input(seed: int) -> Input:
    """The input of this seed: always the same with the same versions of onnx and of this folder."""
    rng = Random(seed)
    model = draw_valid(rng)
    valid = ModelProto()
    valid.CopyFrom(model)
    files = move_data(model, rng) if rng.random() < 0.2 else {}
    done = []
    for _ in range(rng.choice((0, *range(1, MOST_MUTATIONS + 1)))):
        done.append(_mutate(model, files, rng))
    data = model.SerializeToString()
    if rng.random() < 0.08:
        data = mutate_bytes(data, rng)
        done.append("bytes of the file")
    choices, has_plan = draw_choices(valid, rng)
    return Input(seed, valid, data, files, choices, has_plan, rng.getrandbits(32), done)


def _mutate(model: ModelProto, files: dict[str, bytes], rng: Random) -> str:
    try:
        if files and rng.random() < 0.5:
            return mutate_external(model, files, rng)
        return (mutate_meaning if rng.random() < 0.7 else mutate_field)(model, rng)
    except Exception as error:  # earlier mutations made something that protobuf or onnx's helpers refuse
        return f"failed: {error!r}"


def draw_choices(model: ModelProto, rng: Random) -> tuple[dict[str, Any], bool]:
    """Options of a rewrite, few of them invalid, and whether a plan decides instead."""
    target = rng.choice(("standard", "standard", "native", "native", "cuda"))
    choices: dict[str, Any] = {}
    has_plan = rng.random() < 0.2
    if not has_plan:
        names = [lowering.name for lowering in TARGETS[target]]
        (select,) = rng.choices(SELECTIONS, (5, 10, 0.3))
        choices |= {"target": target, "select": select, "lowering": rng.choice(("auto", "auto", "auto", *names))}
        if select == "measure":
            choices |= {"budget_s": 1.0, "use_cache": False}
    optional: dict[str, Any] = {
        "opset": rng.choice((rng.randint(6, 27), *EXTREME_INTEGERS)),
        "max_growth_bytes": rng.choice((0, 1, 1000, 1 << 20, 1 << 40, -1)),
        "include": [rng.choice(("conv", ".*", "1", "[", "nowhere", "(a+)+$"))],
        "exclude": [rng.choice(("conv", ".*", "1", "["))],
        "input_shapes": _draw_shapes(model, rng),
    }
    rates = {"input_shapes": 0.15, "opset": 0.12}
    choices |= {name: value for name, value in optional.items() if rng.random() < rates.get(name, 0.04)}
    return choices, has_plan


def _draw_shapes(model: ModelProto, rng: Random) -> dict[str, list[int]]:
    """A shape for each graph input: what the model says, and something else at times."""
    shapes = {}
    for value in model.graph.input:
        dims = [dim.dim_value or rng.choice((1, 2, 16)) for dim in value.type.tensor_type.shape.dim]
        shapes[value.name] = [rng.choice((0, -1, 1, 3, 40, 2**40)) if rng.random() < 0.1 else dim for dim in dims]
    return shapes
