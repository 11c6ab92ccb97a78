"""Result rows in, matplotlib `Figure` out: nothing is shown, no global style is touched."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .comparison import by_setting, compare
from .methods import COLOURS, MARKERS, TITLES, Setting
from .metrics import Reliability


def comparison(rows: Iterable[Mapping[str, Any]]) -> Figure:
    """Every student's Top-1 as a pale dot; each setting's mean and 95% interval beneath.

    Parameters
    ----------
    rows : iterable of mappings
        Result rows, as for `pld_edu.compare.compare`.

    Returns
    -------
    Figure
        The settings of the comparison from top to bottom, each once; a line marks CE's mean.
    """
    rows = list(rows)
    top1 = by_setting(rows, "top1")
    lines = compare(rows)
    picked = {line.setting for line in lines if line.picked}
    shown = {line.setting: line for line in lines}
    figure, (axes,) = _canvas(1)
    for place, (setting, line) in enumerate(shown.items()):
        colour, marker = COLOURS[setting.method], MARKERS[setting.method]
        values, (mean, low, high) = top1[setting], line.top1
        axes.plot(values, np.full(len(values), place - 0.16), marker, color=colour, ms=4, alpha=0.4)
        axes.plot([low, high], [place + 0.16] * 2, color=colour, lw=2)
        axes.plot(mean, place + 0.16, marker, color=colour, ms=7, markeredgecolor="white")
        axes.annotate(f"{mean:.1f}", (1.01, place), xycoords=("axes fraction", "data"), va="center")
    ce = Setting("ce", None)
    if ce in shown:
        axes.axvline(shown[ce].top1.mean, color="0.6", lw=1, zorder=0)
    titles = [line.title + " (picked)" * (s in picked) for s, line in shown.items()]
    axes.set_yticks(range(len(shown)), titles)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel("Top-1 on the test set, %: students (pale), mean and 95% interval")
    axes.tick_params(left=False)
    return figure


def temperature_curve(rows: Iterable[Mapping[str, Any]]) -> Figure:
    """Mean Top-1 against temperature, on the test set and on held-out data.

    Parameters
    ----------
    rows : iterable of mappings
        Result rows with `held_out_top1`.

    Returns
    -------
    Figure
        For each method a solid line with full markers (test) and a dashed one with open markers
        (held-out, which picks the temperature), as far as it was run; cross-entropy, without
        temperature, is level.
    """
    rows = list(rows)
    top1, held_out = by_setting(rows, "top1"), by_setting(rows, "held_out_top1")
    temperatures = sorted({s.temperature for s in top1 if s.temperature is not None})
    figure, (axes,) = _canvas(1)
    for method in dict.fromkeys(setting.method for setting in top1):
        at = {t: Setting(method, None if method == "ce" else t) for t in temperatures}
        at = {t: setting for t, setting in at.items() if setting in top1}
        style: dict[str, Any] = {"color": COLOURS[method], "marker": MARKERS[method], "ms": 6}
        if method == "ce":
            style["marker"] = ""
        test = [top1[setting].mean() for setting in at.values()]
        axes.plot(list(at), test, "-", **style)
        held = [held_out[setting].mean() for setting in at.values()]
        axes.plot(list(at), held, "--", **style, markerfacecolor="white", lw=1)
        axes.annotate(
            TITLES[method],
            (max(at), test[-1]),
            xytext=(8, 0),
            textcoords="offset points",
            color=COLOURS[method],
            va="center",
        )
    axes.plot([], [], "-", color="0.3", label="test")
    axes.plot([], [], "--", color="0.3", lw=1, label="held-out, which picks T")
    axes.legend(frameon=False, loc="lower left")
    axes.set_xscale("log", base=2)
    axes.set_xticks(temperatures, [f"{t:g}" for t in temperatures])
    axes.set_xlabel("temperature T")
    axes.set_ylabel("mean Top-1, %")
    return figure


def teacher_saturation(epochs: Sequence[Mapping[str, float]]) -> Figure:
    """Along the teacher's training: its accuracy, and what becomes of its weight of the label.

    Parameters
    ----------
    epochs : sequence of mappings
        The history that `pld_edu.distill.train_teacher` gives: `epoch`, `train_top1`,
        `held_out_top1`, `mean_label_weight`, `share_above_99`, `cosine_to_ce`.

    Returns
    -------
    Figure
        Two panels, accuracy on the left and saturation on the right.
    """
    figure, (left, right) = _canvas(2)
    epoch = [line["epoch"] for line in epochs]

    def draw(axes: Axes, key: str, style: str, colour: str, label: str) -> None:
        axes.plot(epoch, [line[key] for line in epochs], style, color=colour, label=label, ms=3)

    draw(left, "train_top1", "-", "#000000", "training")
    draw(left, "held_out_top1", "--", "#D55E00", "held-out")
    left.set_title("teacher's Top-1, %", fontsize=10)
    draw(right, "cosine_to_ce", "-", "#0072B2", "cosine to CE's gradient")
    draw(right, "mean_label_weight", "--", "#009E73", "mean label weight")
    draw(right, "share_above_99", "o-", "#E69F00", "share of weights > 0.99")
    right.set_title("PLD at T = 1", fontsize=10)
    right.set_ylim(0, 1.03)
    for axes in (left, right):
        axes.set_xlabel("epoch of the teacher")
        axes.legend(frameon=False, loc="best", fontsize=8)
    return figure


def learning_curves(curves: Iterable[Mapping[str, Any]], key: str = "held_out_top1") -> Figure:
    """One panel for each temperature: every method's mean over the seeds, epoch by epoch.

    Parameters
    ----------
    curves : iterable of mappings
        The lines of ``curves.json``: `method`, `temperature`, `seed`, `epoch` and `key`.
    key : str
        What to show.

    Returns
    -------
    Figure
        Cross-entropy, which has no temperature, is in every panel; a band spans the seeds.
    """
    found: dict[Setting, dict[int, list[float]]] = {}
    for line in curves:
        epochs = found.setdefault(Setting(line["method"], line["temperature"]), {})
        epochs.setdefault(line["epoch"], []).append(line[key])
    temperatures = sorted({s.temperature for s in found if s.temperature is not None})
    figure, panels = _canvas(len(temperatures), sharey=True)
    ends: dict[float, dict[str, float]] = {temperature: {} for temperature in temperatures}
    for axes, temperature in zip(panels, temperatures, strict=True):
        for setting, epochs in found.items():
            if setting.temperature not in (None, temperature):
                continue
            method, values = setting.method, [np.array(seeds) for seeds in epochs.values()]
            means = [seeds.mean() for seeds in values]
            colour, marker = COLOURS[method], MARKERS[method]
            axes.plot(list(epochs), means, "-", marker=marker, color=colour, ms=4, lw=1.2)
            lowest, highest = [v.min() for v in values], [v.max() for v in values]
            axes.fill_between(list(epochs), lowest, highest, color=colour, alpha=0.12, lw=0)
            ends[temperature][method] = means[-1]
        axes.set_title(f"T = {temperature:g}", fontsize=10)
        axes.set_xlabel("epoch")
    for axes, temperature in zip(panels, temperatures, strict=True):
        _label_ends(axes, ends[temperature])  # now that no panel changes the common scale any more
    panels[0].set_ylabel("held-out Top-1, %" if key == "held_out_top1" else key.replace("_", " "))
    return figure


def reliability_diagrams(found: Mapping[Setting | str, Reliability]) -> Figure:
    """Accuracy against confidence, a panel for each network, five to a row.

    Parameters
    ----------
    found : mapping of Setting, or a name such as ``"teacher"``, to Reliability

    Returns
    -------
    Figure
        Bars are the accuracy in each bin, the dashed diagonal is perfect calibration, and the
        title gives the expected calibration error (ECE) in points.
    """
    columns = min(5, len(found))
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(7.2, 0.6 + 1.7 * rows), dpi=100, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in panels.flat[len(found) :]:
        axes.set_visible(False)
    for axes, (who, bins) in zip(panels.flat, found.items(), strict=False):
        title, colour = (who, "#E69F00") if isinstance(who, str) else (who.title, COLOURS[who[0]])
        edges = np.linspace(0, 1, len(bins.samples) + 1)
        heights = np.nan_to_num(bins.accuracy)
        axes.stairs(heights, edges, fill=True, color=colour, alpha=0.35)
        axes.stairs(heights, edges, color=colour, lw=1)
        axes.plot([0, 1], [0, 1], "--", color="0.3", lw=1)
        axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        axes.set_xticklabels(["0", ".5", "1"])
        axes.set_yticklabels(["0", ".5", "1"])
        axes.set_title(f"{title}: {100 * bins.expected_error:.1f}", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("confidence", fontsize=10)
    figure.supylabel("accuracy", fontsize=10)
    return figure


def weights_by_rank(weights: Mapping[float, np.ndarray]) -> Figure:
    """How fast PLD's weights fall: at each rank the median over samples, and the middle 80%.

    Parameters
    ----------
    weights : mapping of float to array [N, C]
        For each temperature PLD's weights in rank order, as `pld_edu.reference.rank_weights` gives
        them.

    Returns
    -------
    Figure
        Both axes are logarithmic; rank 1 is the label.
    """
    figure, (axes,) = _canvas(1)
    styles = ("-", "--", ":", "-.")
    colours = ("#0072B2", "#D55E00", "#009E73", "#000000")
    for (temperature, alpha), style, colour in zip(weights.items(), styles, colours, strict=False):
        rank = np.arange(1, alpha.shape[-1] + 1)
        low, middle, high = np.quantile(alpha, [0.1, 0.5, 0.9], axis=0)
        axes.fill_between(rank, low, high, color=colour, alpha=0.15, lw=0)
        axes.plot(rank, middle, style, color=colour)
        axes.annotate(
            f"T = {temperature:g}",
            (rank[-1], middle[-1]),
            xytext=(6, 0),
            textcoords="offset points",
            color=colour,
            va="center",
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("rank (1: the label, 2: the teacher's first choice among the others, ...)")
    axes.set_ylabel("weight: median and middle 80%")
    return figure


def _label_ends(axes: Axes, ends: Mapping[str, float], gap: float = 0.055) -> None:
    """Names of methods at the right ends of their lines, pushed apart where they would overlap."""
    low, high = axes.get_ylim()
    heights: list[float] = []
    for method, value in sorted(ends.items(), key=lambda end: end[1]):
        height = (value - low) / (high - low)
        heights.append(max(height, heights[-1] + gap) if heights else height)
        axes.annotate(
            TITLES[method],
            (1.01, heights[-1]),
            xycoords="axes fraction",
            color=COLOURS[method],
            fontsize=9,
            va="center",
        )


def _canvas(panels: int, sharey: bool = False) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(6.0, 3.5), dpi=100, layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False, sharey=sharey)[0]
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes
