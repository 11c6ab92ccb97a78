"""Result rows in, matplotlib `Figure` out: nothing is shown, no global style is touched."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import needs_extra
from .comparison import by_setting, compare, mean_interval
from .draws import by_draw
from .methods import COLOURS, METHODS, Setting
from .metrics import Reliability

with needs_extra("distill"):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator


def comparison(rows: Iterable[Mapping[str, Any]], also: Collection[Setting] = ()) -> Figure:
    """Every student's Top-1 as a pale dot; each setting's mean and 95% interval beneath.

    The settings of `pld_edu.results.comparison.compare` stand from top to bottom, each once; a
    line marks the mean of cross-entropy.
    """
    rows = list(rows)
    top1, found = by_setting(rows, "top1"), compare(rows, also)
    picked = {row.setting for row in found if row.picked}
    shown = {row.setting: row.top1 for row in found}
    figure, ((axes,),) = _canvas()
    for place, (setting, (mean, low, high)) in enumerate(shown.items()):
        (_, _, colour, marker), values = METHODS[setting.method], top1[setting]
        axes.plot(values, np.full(len(values), place - 0.16), marker, color=colour, ms=4, alpha=0.4)
        axes.plot([low, high], [place + 0.16] * 2, color=colour, lw=2)
        axes.plot(mean, place + 0.16, marker, color=colour, ms=7, markeredgecolor="white")
        text = f"{mean:.1f}" if mean == mean else "diverged"
        axes.annotate(text, (1.01, place), xycoords=("axes fraction", "data"), va="center")
    if (ce := Setting("ce", None)) in shown:
        axes.axvline(shown[ce].mean, color="0.6", lw=1, zorder=0)
    titles = [setting.title + " (picked)" * (setting in picked) for setting in shown]
    axes.set_yticks(range(len(shown)), titles)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel("Top-1 on the test set, %: students (pale), mean and 95% interval")
    axes.tick_params(left=False)
    return figure


def over_draws(rows: Iterable[Mapping[str, Any]]) -> Figure:
    """Each method's lead over the first one, draw by draw: pale dots; mean and 95% interval below.

    `rows` are those of a fair comparison, `pld_edu.distill.fair`.
    """
    rows = list(rows)
    top1, picked = by_draw(rows), {row["method"]: row for row in rows}
    first, *others = top1
    figure, ((axes,),) = _canvas(size=(6.0, 0.9 + 0.6 * len(others)))
    titles = []
    for place, method in enumerate(others):
        _, _, colour, marker = METHODS[method]
        lead = top1[method] - top1[first]
        mean, low, high = mean_interval(lead)
        axes.plot(lead, np.full(len(lead), place - 0.15), marker, color=colour, ms=6, alpha=0.4)
        axes.plot([low, high], [place + 0.15] * 2, color=colour, lw=2)
        axes.plot(mean, place + 0.15, marker, color=colour, ms=8, markeredgecolor="white")
        axes.annotate(
            f"{mean:+.1f}", (1.01, place), xycoords=("axes fraction", "data"), va="center"
        )
        titles.append(Setting(method, picked[method]["temperature"]).title)
    axes.axvline(0, color="0.6", lw=1, zorder=0)
    axes.set_yticks(range(len(others)), titles)
    axes.set_ylim(len(others) - 0.5, -0.5)
    axes.set_xlabel(
        f"Top-1 minus that of {METHODS[first].title}, points: draws (pale), mean, interval"
    )
    axes.tick_params(left=False)
    return figure


def temperature_curve(rows: Iterable[Mapping[str, Any]]) -> Figure:
    """Mean Top-1 against temperature, on the test set and on held-out data.

    Each method has a solid line with full markers (test) and a dashed one with open markers
    (held-out), as far as it was run; cross-entropy, which has no temperature, is level.
    """
    rows = list(rows)
    top1, held_out = by_setting(rows, "top1"), by_setting(rows, "held_out_top1")
    temperatures = sorted({s.temperature for s in top1 if s.temperature is not None})
    figure, ((axes,),) = _canvas()
    for method in dict.fromkeys(setting.method for setting in top1):
        title, _, colour, marker = METHODS[method]
        style: dict[str, Any] = {"color": colour, "marker": "" if method == "ce" else marker}
        at = {t: Setting(method, None if method == "ce" else t) for t in temperatures}
        at = {t: setting for t, setting in at.items() if setting in top1}
        test, held = ([mean_interval(of[s]).mean for s in at.values()] for of in (top1, held_out))
        axes.plot(list(at), test, "-", **style, ms=6)
        axes.plot(list(at), held, "--", **style, ms=6, mfc="white", lw=1)
        end = (max(at), test[-1])
        axes.annotate(title, end, (8, 0), textcoords="offset points", color=colour, va="center")
    axes.plot([], [], "-", color="0.3", label="test")
    axes.plot([], [], "--", color="0.3", lw=1, label="held-out, which picks T")
    axes.legend(frameon=False, loc="lower left")
    axes.set_xscale("log", base=2)
    axes.set_xticks(temperatures, [f"{t:g}" for t in temperatures])
    axes.set(xlabel="temperature T", ylabel="mean Top-1, %")
    return figure


def teacher_saturation(epochs: Sequence[Mapping[str, float]]) -> Figure:
    """Accuracy and label weight along the teacher's training: the `epochs` of ``teacher.json``."""
    figure, ((left, right),) = _canvas(columns=2)
    for axes, key, style, colour, label in (
        (left, "train_top1", "-", "#000000", "training"),
        (left, "held_out_top1", "--", "#D55E00", "held-out"),
        (right, "cosine_to_ce", "-", "#0072B2", "cosine to CE's gradient"),
        (right, "mean_label_weight", "--", "#009E73", "mean label weight"),
        (right, "share_above_99", "o-", "#E69F00", "share of weights > 0.99"),
    ):
        x, y = ([line[name] for line in epochs] for name in ("epoch", key))
        axes.plot(x, y, style, color=colour, label=label, ms=3)
    for axes, title in ((left, "teacher's Top-1, %"), (right, "PLD at T = 1")):
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch of the teacher")
        axes.legend(frameon=False, loc="best", fontsize=8)
    right.set_ylim(0, 1.03)
    return figure


def learning_curves(curves: Iterable[Mapping[str, Any]]) -> Figure:
    """One panel for each temperature: every method's mean over the seeds, epoch by epoch.

    Cross-entropy, which has no temperature, is in every panel; a band spans the seeds. `curves`
    are the lines of ``curves.json``: `method`, `temperature`, `seed`, `epoch`, `held_out_top1`.
    A student that diverged lacks the last epoch, and is not drawn.
    """
    curves = list(curves)
    last = max(line["epoch"] for line in curves)
    whole = {(x["method"], x["temperature"], x["seed"]) for x in curves if x["epoch"] == last}
    found: dict[Setting, dict[int, list[float]]] = {}
    for line in curves:
        if (line["method"], line["temperature"], line["seed"]) not in whole:
            continue
        epochs = found.setdefault(Setting(line["method"], line["temperature"]), {})
        epochs.setdefault(line["epoch"], []).append(line["held_out_top1"])
    temperatures = sorted({s.temperature for s in found if s.temperature is not None})
    figure, (panels,) = _canvas(columns=len(temperatures), sharey=True)
    for axes, temperature in zip(panels, temperatures, strict=True):
        for setting in (s for s in found if s.temperature in (None, temperature)):
            title, _, colour, marker = METHODS[setting.method]
            x, seeds = list(found[setting]), found[setting].values()
            low, mean, high = ([of(values) for values in seeds] for of in (min, np.mean, max))
            axes.plot(x, mean, marker=marker, color=colour, ms=4, lw=1.2, label=title)
            axes.fill_between(x, low, high, color=colour, alpha=0.12, lw=0)
        axes.set_title(f"T = {temperature:g}", fontsize=10)
        axes.set_xlabel("epoch")
    for axes in panels:
        _label_ends(axes)  # now that no panel changes the common scale any more
    panels[0].set_ylabel("held-out Top-1, %")
    return figure


def reliability_diagrams(found: Mapping[Setting | str, Reliability]) -> Figure:
    """Accuracy against confidence, one panel for each network, five to a row.

    The dashed diagonal is perfect calibration; the title has the expected calibration error in
    points. A network is called by its Setting or by a name such as ``"teacher"``.
    """
    columns = min(5, len(found))
    rows = -(-len(found) // columns)
    figure, panels = _canvas(rows, columns, (7.2, 0.6 + 1.7 * rows), sharex=True, sharey=True)
    for axes in panels.flat[len(found) :]:
        axes.set_visible(False)
    for axes, (who, bins) in zip(panels.flat, found.items(), strict=False):
        title, colour = (who, "#E69F00") if isinstance(who, str) else (who.title, COLOURS[who[0]])
        edges = np.linspace(0, 1, len(bins.samples) + 1)
        heights = np.nan_to_num(bins.accuracy)
        axes.stairs(heights, edges, fill=True, color=colour, alpha=0.35)
        axes.stairs(heights, edges, color=colour, lw=1)
        axes.plot([0, 1], [0, 1], "--", color="0.3", lw=1)
        axes.set_title(f"{title}: {100 * bins.expected_error:.1f}", fontsize=9)
    axes = panels[0, 0]  # all panels share its limits and ticks
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axes.set(xticklabels=["0", ".5", "1"], yticklabels=["0", ".5", "1"])
    figure.supxlabel("confidence", fontsize=10)
    figure.supylabel("accuracy", fontsize=10)
    return figure


# Colour, marker and line of the losses that `pld_edu.bench` measures: dotted ones use float64.
COST_STYLES = {
    "cross-entropy": (COLOURS["ce"], "s-"),
    "KD, plain float32": (COLOURS["kd"], "o-"),
    "KD": (COLOURS["kd"], "o:"),
    "DIST": (COLOURS["dist"], "^:"),
    "DKD": (COLOURS["dkd"], "v:"),
    "listing": ("#E69F00", "X-"),
    "losses": ("#56B4E9", "P--"),
    "fast": (COLOURS["pld"], "D-"),
    "fast, cached targets": (COLOURS["pld"], "d--"),
}


def costs(rows: Iterable[Mapping[str, Any]]) -> Figure:
    """Time, as a multiple of cross-entropy's, and peak memory of every loss at every shape.

    `rows` are those of `pld_edu.bench.run`; the group "losses" is drawn, with logarithmic axes.
    """
    rows = [row for row in rows if row["group"] == "losses"]
    figure, ((left, right),) = _canvas(1, 2, size=(9.0, 4.0))
    for axes, key, title in (
        (left, "in_cross_entropies", "time, forward + backward, in cross-entropies"),
        (right, "memory", "most memory at a time, in float32 of [B, C]"),
    ):
        for name in dict.fromkeys(row["name"] for row in rows):
            colour, style = COST_STYLES[name]
            cost = {"{}x{}".format(*row["shape"]): row[key] for row in rows if row["name"] == name}
            axes.plot(list(cost), list(cost.values()), style, color=colour, label=name)
        axes.set(yscale="log", xlabel="rows x classes")
        axes.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), minor_locator=NullLocator())
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_xticks(axes.get_xticks(), list(cost), rotation=35, ha="right")
        axes.set_title(title, fontsize=10)
        axes.grid(axis="y", color="0.9")
    right.legend(frameon=False, bbox_to_anchor=(1.0, 1.0), loc="upper left", fontsize=9)
    return figure


def _label_ends(axes: Axes) -> None:
    """All lines' labels at their right ends, pushed apart where they would overlap."""
    low, high = axes.get_ylim()
    height = -np.inf
    ends = [(np.asarray(line.get_ydata())[-1], line) for line in axes.get_lines()]
    for value, line in sorted(ends, key=lambda end: end[0]):
        height = max((value - low) / (high - low), height + 0.055)
        style: dict[str, Any] = {"color": line.get_color(), "fontsize": 9, "va": "center"}
        axes.annotate(str(line.get_label()), (1.01, height), xycoords="axes fraction", **style)


def _canvas(
    rows: int = 1, columns: int = 1, size: tuple[float, float] = (6.0, 3.5), **share: Any
) -> tuple[Figure, np.ndarray]:
    """A figure and its axes [rows, columns], without the upper and the right edge."""
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, **share)
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels
