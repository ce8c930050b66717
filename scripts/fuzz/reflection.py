"""Mutations of any field of a model by protobuf's reflection: dropped, doubled, swapped, made extreme, grafted.

Nothing here knows what a field means; `meaning.py` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

EXTREME_INTEGERS = (0, 1, -1, 2, 7, 255, -(2**31), 2**31 - 1, 2**31, 2**40, 2**63 - 1, -(2**63))
EXTREME_FLOATS = (0.0, -0.0, 1e-45, -1e38, 3e38, float("inf"), float("-inf"), float("nan"))
EXTREME_TEXTS = (
    "", "x", "conv", "a/b", "../../x", "/etc/hostname", "two\nlines", "tab\t[red]markup[/red]", "\x00", "\x1b[31m",
    "Größe", "层", "\U0001f600", "\u202e", "CON", "<b>&amp;", "%s{0}", "n" * 300, "n" * 70_000,
)  # fmt: skip
INTEGER_TYPES = (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT64)
FLOAT_TYPES = (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE)

Place = tuple[Message, FieldDescriptor]


def mutate_field(model: Message, rng: Random) -> str:
    """Change one field somewhere; says which, and how."""
    places = list(_walk(model))
    kinds = sorted({field.full_name for _, field in places})
    kind = rng.choice(kinds)  # first the kind: otherwise most mutations would hit attributes of nodes
    message, field = rng.choice([place for place in places if place[1].full_name == kind])
    change = _change_repeated if _is_repeated(field) else _change_single
    done = change(message, field, places, rng)
    return f"{kind.removeprefix('onnx.')}: {done}"


def _walk(message: Message) -> Iterator[Place]:
    """Every field that is set, of the message and of those inside it."""
    for field, value in message.ListFields():
        yield message, field
        if field.message_type is not None:
            for child in value if _is_repeated(field) else [value]:
                yield from _walk(child)


def _is_repeated(field: FieldDescriptor) -> bool:
    # onnx 1.16's protobuf has `label` only, and the newest has dropped it
    return bool(getattr(field, "is_repeated", None) or getattr(field, "label", 0) == FieldDescriptor.LABEL_REPEATED)


def _change_single(message: Message, field: FieldDescriptor, places: list[Place], rng: Random) -> str:
    if rng.random() < 0.25:
        message.ClearField(field.name)
        return "dropped"
    if field.message_type is not None:
        getattr(message, field.name).CopyFrom(_find_donor(field, places, rng))
        return "grafted"
    value = _draw_scalar(field, getattr(message, field.name), places, rng)
    _set(message, field, value)
    return f"set to {str(value)[:60]!r}"


def _change_repeated(message: Message, field: FieldDescriptor, places: list[Place], rng: Random) -> str:
    values = getattr(message, field.name)
    index = rng.randrange(len(values))
    kind = rng.choice(("removed", "doubled", "swapped", "emptied", "changed", "changed"))
    if kind == "removed":
        del values[index]
    elif kind == "emptied":
        del values[:]
    elif field.message_type is not None:
        _change_message(values, index, kind, _find_donor(field, places, rng), rng)
    elif kind == "doubled":
        values.append(values[index])
    elif kind == "swapped":
        other = rng.randrange(len(values))
        values[index], values[other] = values[other], values[index]
    else:
        value = _draw_scalar(field, values[index], places, rng)
        try:
            values[index] = value
        except (ValueError, TypeError, UnicodeError):
            return "unchanged: protobuf takes no such value"
        return f"[{index}] set to {str(value)[:60]!r}"
    return f"[{index}] {kind}"


def _change_message(values: Any, index: int, kind: str, donor: Message, rng: Random) -> None:
    if kind == "doubled":
        values.add().CopyFrom(values[index])
        return
    if kind == "changed":
        values[index].CopyFrom(donor)
        return
    other, copy = rng.randrange(len(values)), type(donor)()
    copy.CopyFrom(values[index])
    values[index].CopyFrom(values[other])
    values[other].CopyFrom(copy)


def _find_donor(field: FieldDescriptor, places: list[Place], rng: Random) -> Message:
    """A copy of some message of the type that the field holds, from anywhere in the model."""
    found = []
    for message, each in places:
        if each.message_type is field.message_type:
            value = getattr(message, each.name)
            found += list(value) if _is_repeated(each) else [value]
    chosen = rng.choice(found)
    copy: Message = type(chosen)()
    copy.CopyFrom(chosen)
    return copy


def _draw_scalar(field: FieldDescriptor, before: Any, places: list[Place], rng: Random) -> Any:
    if field.type == FieldDescriptor.TYPE_ENUM:
        return rng.choice([value.number for value in field.enum_type.values])
    if field.type in INTEGER_TYPES:
        return rng.choice((*EXTREME_INTEGERS, rng.randint(-3, 40), int(before) + rng.choice((-1, 1))))
    if field.type in FLOAT_TYPES:
        return rng.choice((*EXTREME_FLOATS, rng.uniform(-2, 2)))
    text = rng.choice((*EXTREME_TEXTS, *_find_texts(field, places, rng)))
    return text if field.type == FieldDescriptor.TYPE_STRING else rng.choice((text.encode(), rng.randbytes(5)))


def _find_texts(field: FieldDescriptor, places: list[Place], rng: Random) -> list[str]:
    """Texts that the model has elsewhere: names that then stand for something else."""
    found = []
    for message, each in rng.sample(places, min(20, len(places))):
        if each.type == FieldDescriptor.TYPE_STRING:
            value = getattr(message, each.name)
            found += [text for text in (value if _is_repeated(each) else [value]) if isinstance(text, str)]
    return found * 2  # as likely as the extremes


def _set(message: Message, field: FieldDescriptor, value: Any) -> None:
    try:
        setattr(message, field.name, value)
    except (ValueError, TypeError, UnicodeError):
        message.ClearField(field.name)  # a value that protobuf does not take in a field of 32 bits
