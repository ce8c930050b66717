"""HTML elements that escape whatever is put into them, and the page's way of writing numbers."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence

from onnx_fft import units
from onnx_fft.timing.stats import SAME_MARGIN, format_ms

VOID = frozenset({"meta", "link", "br"})
LONG_NAME = 120
"""Characters from which on a name is folded; one press opens it."""
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Markup(str):
    """Text that is HTML already; `element` escapes every other."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str | int | bool | None) -> Markup:
    """`<tag attributes>children</tag>`, children and values escaped unless they are Markup.

    `class_` stands for `class` and `aria_label` for `aria-label`; an attribute that is None or False is left out.
    """
    written = "".join(
        f" {name.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(str(value))}"')
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    return Markup(f"<{tag}{written}>" + ("" if tag in VOID else f"{join(children)}</{tag}>"))


def join(parts: Iterable[str], between: str = "") -> Markup:
    """The parts one after the other."""
    return Markup(escape(between).join(map(escape, parts)))


def escape(text: str) -> Markup:
    """Text as HTML; what HTML cannot hold (control characters, lone surrogates) becomes U+FFFD."""
    return text if isinstance(text, Markup) else Markup(html.escape(_UNPRINTABLE.sub("\ufffd", text)))


def name_of(name: str) -> Markup:
    """A name of a model's node or tensor: breakable anywhere, apart from the direction of the text around it."""
    if len(name) <= LONG_NAME:
        return element("bdi", name, class_="name")
    half = LONG_NAME // 2
    short = element("bdi", f"{name[:half]} … {name[-half // 2 :]}", class_="name")
    whole = element("bdi", name, class_="name")
    return element("details", element("summary", short), whole, class_="long")


def hidden(text: str) -> Markup:
    """Text for those who listen to the page."""
    return element("span", text, class_="hidden")


def chip(text: str, kind: str = "") -> Markup:
    """A word in a frame; `kind` is a class of the style sheet: good, bad, note."""
    return element("span", text, class_=f"chip {kind}".strip())


def bar(seconds: float, longest: float, kind: str, label: str, text: str = "") -> Markup:
    """A bar of `seconds` on a scale that ends at `longest`, with its time beside it; `label` says what it is."""
    share = seconds / longest if longest > 0 else 0.0
    line = element("i", style=f"--share:{share:.4f}", aria_hidden="true")
    return element("div", hidden(f"{label} "), line, element("b", text or format_time(seconds)), class_=f"bar {kind}")


def is_slower(before_s: float | None, after_s: float | None) -> bool:
    """Whether what replaces something takes longer, by as much as is worth a word; of single times, not a verdict."""
    return before_s is not None and after_s is not None and after_s > (1 + SAME_MARGIN) * before_s


def pair_of_bars(before_s: float | None, after_s: float | None, longest: float, *, judged: bool = True) -> Markup:
    """The original's bar above the rewritten model's, which if `judged` tells a loss by its colour; None: no bar."""
    bars = [] if before_s is None else [bar(before_s, longest, "before", "original")]
    if after_s is not None:
        lost = judged and is_slower(before_s, after_s)
        kind, label = ("after lost", "rewritten, slower") if lost else ("after", "rewritten")
        bars.append(bar(after_s, longest, kind, label))
    return join(bars)


def render_legend(marks: Iterable[tuple[str, str]]) -> Markup:
    """What the colours mean: pairs of a class of the style sheet and its word; "" for a word without a mark."""
    items = [element("li", element("i", class_=kind, aria_hidden="true") if kind else "", text) for kind, text in marks]
    return element("ul", *items, class_="legend")


def table(
    caption: str, headings: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "", numbers: Sequence[int] = ()
) -> Markup:
    """A table, its first column the row's heading; on a narrow page the cells stand below each other, labelled.

    Columns `numbers` are set flush right. The roles are written out because a table laid out in blocks loses them.
    """
    head = [
        element("th", text, scope="col", role="columnheader", class_=_side(i, numbers))
        for i, text in enumerate(headings)
    ]
    body = []
    for cells in rows:
        first = element("th", cells[0], scope="row", role="rowheader")
        rest = [
            element("td", cell, role="cell", class_=_side(i, numbers), data_label=headings[i])
            for i, cell in enumerate(cells[1:], 1)
        ]
        body.append(element("tr", first, *rest, role="row"))
    return element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *head, role="row"), role="rowgroup"),
        element("tbody", *body, role="rowgroup"),
        role="table",
        class_=kind or None,
    )


def folded(summary: str, content: Markup, *, is_open: bool) -> Markup:
    """Content behind a line that opens it."""
    return element("details", element("summary", summary), content, open=is_open, class_="fold")


def format_time(seconds: float | None) -> str:
    """Seconds with three digits and the unit that suits; a dash where there are none."""
    if seconds is None:
        return "–"
    if seconds >= 1:
        return f"{seconds:.2f} s" if seconds < 100 else f"{seconds:.0f} s"
    return f"{seconds * 1e6:.3g} µs" if seconds < 1e-4 else f"{format_ms(seconds)} ms"


def format_error(value: float) -> str:
    """`2.6×10⁻⁷`; a dash for NaN, which is what was not computed."""
    if math.isnan(value):
        return "–"
    if value == 0 or math.isinf(value):
        return "0" if value == 0 else "∞"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}×10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def format_growth(count: int) -> str:
    """`+2.6 MiB`."""
    return units.format_growth(count).replace("-", "−") if count else "±0"


def plural(count: int, noun: str) -> str:
    """`1 convolution`, `3 convolutions`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _side(column: int, numbers: Sequence[int]) -> str | None:
    return "number" if column in numbers else None
