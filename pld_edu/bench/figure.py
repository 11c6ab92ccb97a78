"""The figure of a benchmark's rows."""

from collections.abc import Iterable, Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

# Okabe and Ito's colours; each line has a marker and a style of its own as well.
STYLES = {
    "cross-entropy": ("#000000", "s", "-"),
    "KD, plain float32": ("#D55E00", "o", "-"),
    "KD": ("#D55E00", "o", ":"),
    "DIST": ("#009E73", "^", ":"),
    "DKD": ("#CC79A7", "v", ":"),
    "listing": ("#E69F00", "X", "-"),
    "losses": ("#56B4E9", "P", "--"),
    "fast": ("#0072B2", "D", "-"),
    "fast, cached targets": ("#0072B2", "d", "--"),
    "fused kernel": ("#0072B2", "*", ":"),
}


def costs(rows: Iterable[Mapping[str, Any]]) -> Figure:
    """Time in cross-entropies and peak memory of every contender, shape by shape.

    Parameters
    ----------
    rows : iterable of mappings
        `rows` of `pld_edu.bench.benchmark.run`; those of group "losses" are drawn.

    Returns
    -------
    Figure
        Two panels with logarithmic axes; the names stand beside the right one.
    """
    rows = [row for row in rows if row["group"] == "losses"]
    shapes = list(dict.fromkeys("{}x{}".format(*row["shape"]) for row in rows))
    figure = Figure(figsize=(9.0, 4.0), dpi=100, layout="constrained")
    panels = {
        "in_cross_entropies": "time, forward + backward, in cross-entropies",
        "memory": "most memory at a time, in float32 of [B, C]",
    }
    for axes, (key, title) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        for name in dict.fromkeys(row["name"] for row in rows):
            colour, marker, line = STYLES[name]
            mine = [row for row in rows if row["name"] == name]
            places = [shapes.index("{}x{}".format(*row["shape"])) for row in mine]
            style = {"color": colour, "marker": marker, "ls": line, "ms": 6}
            axes.plot(places, [row[key] for row in mine], label=name, **style)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_xticks(range(len(shapes)), shapes, rotation=35, ha="right")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("rows x classes")
        axes.grid(axis="y", color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, bbox_to_anchor=(1.0, 1.0), loc="upper left", fontsize=9)
    return figure
