"""Result rows in, matplotlib `Figure` out: nothing is shown, no global style is touched."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .compare import TITLES, by_setting, compare
from .experiments import Setting

# Okabe and Ito's colours; the markers say the same without colour.
COLOURS = {
    "ce": "#000000",
    "kd": "#D55E00",
    "dist": "#009E73",
    "dkd": "#CC79A7",
    "pld": "#0072B2",
}
MARKERS = {"ce": "s", "kd": "o", "dist": "^", "dkd": "v", "pld": "D"}


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
        (held-out, which picks the temperature); cross-entropy, without temperature, is level.
    """
    rows = list(rows)
    top1, held_out = by_setting(rows, "top1"), by_setting(rows, "held_out_top1")
    temperatures = sorted({s.temperature for s in top1 if s.temperature is not None})
    figure, (axes,) = _canvas(1)
    for method in dict.fromkeys(setting.method for setting in top1):
        settings = [Setting(method, None if method == "ce" else t) for t in temperatures]
        style: dict[str, Any] = {"color": COLOURS[method], "marker": MARKERS[method], "ms": 6}
        if method == "ce":
            style["marker"] = ""
        test = [top1[setting].mean() for setting in settings]
        axes.plot(temperatures, test, "-", **style)
        held = [held_out[setting].mean() for setting in settings]
        axes.plot(temperatures, held, "--", **style, markerfacecolor="white", lw=1)
        axes.annotate(
            TITLES[method],
            (temperatures[-1], test[-1]),
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
        axes.legend(frameon=False, loc="lower right", fontsize=8)
    return figure


def _canvas(panels: int) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(6.0, 3.5), dpi=100, layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
    return figure, axes
