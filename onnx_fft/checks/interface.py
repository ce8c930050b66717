"""Whether two models can be called in the same way: names, types and lengths that both declare."""

from __future__ import annotations

from onnx import ModelProto, TensorProto, TypeProto, ValueInfoProto

from onnx_fft.inputs.feeds import read_inputs


def compare_interfaces(original: ModelProto, rewritten: ModelProto) -> str:
    """The first difference between the inputs that must be fed or between the outputs, "" if there is none.

    A length or type that only one side fixes is not a difference: a rewrite may be asked for fixed lengths.
    """
    for what, before, after in (
        ("inputs", _find_fed(original), _find_fed(rewritten)),
        ("outputs", list(original.graph.output), list(rewritten.graph.output)),
    ):
        names = [[value.name for value in values] for values in (before, after)]
        if names[0] != names[1]:
            return f"the {what} are {names[1]} instead of {names[0]}"
        for old, new in zip(before, after, strict=True):
            if not _agree(old.type, new.type):
                return f"the {what} have {old.name!r} as {_describe(new)} instead of {_describe(old)}"
    return ""


def _find_fed(model: ModelProto) -> list[ValueInfoProto]:
    names = {info.name for info in read_inputs(model)}
    return [value for value in model.graph.input if value.name in names]


def _agree(old: TypeProto, new: TypeProto) -> bool:
    kind, other = old.WhichOneof("value"), new.WhichOneof("value")
    if kind == other and kind in ("sequence_type", "optional_type"):
        return _agree(getattr(old, kind).elem_type, getattr(new, kind).elem_type)
    if (kind, other) != ("tensor_type", "tensor_type"):
        return None in (kind, other) or old.SerializeToString() == new.SerializeToString()
    before, after = old.tensor_type, new.tensor_type
    if before.elem_type and after.elem_type and before.elem_type != after.elem_type:
        return False
    if not before.HasField("shape") or not after.HasField("shape"):
        return True
    lengths = [[dim.dim_value for dim in tensor.shape.dim] for tensor in (before, after)]
    return len(lengths[0]) == len(lengths[1]) and all(a == b or a <= 0 or b <= 0 for a, b in zip(*lengths, strict=True))


def _describe(value: ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        return str(value.type.WhichOneof("value"))
    name = TensorProto.DataType.Name(tensor.elem_type).lower() if tensor.elem_type in _KNOWN_TYPES else "unknown type"
    dims = [str(dim.dim_value) if dim.dim_value > 0 else dim.dim_param or "?" for dim in tensor.shape.dim]
    return f"{name} [{', '.join(dims)}]" if tensor.HasField("shape") else name


_KNOWN_TYPES = frozenset(TensorProto.DataType.values())
