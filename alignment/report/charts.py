"""The report's charts: static SVG by matplotlib, a few kilobytes each, with text that stays text.

A library that draws in the browser would put megabytes of itself into every report.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

INK, FAINT, GRID = "#1f2933", "#7b8794", "#e4e7eb"
BEFORE, AFTER, GATE = "#9aa5b1", "#0f766e", "#b45309"
WIDTH_IN = 7.6


def arms_chart(arms: Mapping[str, Mapping[str, Any]], counted: Sequence[str], gate: float | None) -> str:
    """Draws each arm's accuracy with its interval; `trained` stands out, arms that do not count are hollow."""
    names = list(arms)
    with _drawing(0.42 * len(names) + 0.75) as (figure, axes):
        for row, name in enumerate(names):
            arm, trained = arms[name], name == "trained"
            colour = AFTER if trained else BEFORE if name not in counted else FAINT
            axes.plot([100 * arm["low"], 100 * arm["high"]], [row, row], color=colour, lw=2.5, solid_capstyle="round")
            fill = colour if trained or name in counted else "white"
            axes.plot(100 * arm["accuracy"], row, "o", ms=9, mfc=fill, mec=colour, mew=2)
            axes.annotate(
                f"{100 * arm['accuracy']:.1f} %", (102.5, row), va="center", color=INK, annotation_clip=False,
                weight="bold" if trained else "normal",
            )  # fmt: skip
        if gate is not None:
            axes.axvline(100 * gate, color=GATE, lw=1.2, ls=(0, (4, 3)))
            axes.annotate(f"gate {100 * gate:g} %", (100 * gate, -0.62), ha="right", color=GATE, fontsize=9)
        axes.set_yticks(range(len(names)), [name.replace("_", "-") for name in names])
        axes.set_xlim(0, 101.5)
        axes.set_ylim(len(names) - 0.5, -0.85)
        axes.set_xlabel("items passed, %")
        return _svg(figure)


def types_chart(before: Mapping[str, Any], after: Mapping[str, Any], name_before: str) -> str:
    """Draws each item type's accuracy before and after training."""
    names = sorted(after, key=lambda name: (after[name]["accuracy"], name))
    with _drawing(0.34 * len(names) + 0.95) as (figure, axes):
        for row, name in enumerate(names):
            old, new = 100 * before[name]["accuracy"], 100 * after[name]["accuracy"]
            axes.plot([old, new], [row, row], color=GRID, lw=3, zorder=1)
            axes.plot(old, row, "o", ms=7, mfc="white", mec=FAINT, mew=1.8, label=name_before if not row else None)
            axes.plot(new, row, "o", ms=8, color=AFTER, label="trained" if not row else None)
        axes.set_yticks(range(len(names)), [f"{name}  ({after[name]['n']})" for name in names])
        axes.set_xlim(-2, 102)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.set_xlabel("items passed, %")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, handletextpad=0.2)
        return _svg(figure)


def curve_chart(title: str, curves: Mapping[str, Sequence[tuple[float, float]]], *, dots: bool = False) -> str:
    """Draws figures over steps; several curves share the axes."""
    with _drawing(2.1, width_in=WIDTH_IN / 2) as (figure, axes):
        for (name, points), colour in zip(curves.items(), (AFTER, GATE, FAINT), strict=False):
            steps, values = zip(*points, strict=True)
            if not dots:  # single batches are noisy: they stay visible behind their running mean
                axes.plot(steps, values, color=colour, lw=0.8, alpha=0.35)
                values = _running_mean(values)
            axes.plot(steps, values, color=colour, lw=1.8, marker="o" if dots else None, ms=4, label=name)
        axes.set_title(title, loc="left", fontsize=10, color=INK)
        axes.set_xlabel("step")
        axes.grid(axis="y", color=GRID)
        if len(curves) > 1:
            axes.legend(frameon=False, fontsize=9)
        return _svg(figure)


def funnel_chart(counts: Mapping[str, int]) -> str:
    """Draws how many entries each step of the data's making kept."""
    names = list(counts)
    most = max(counts.values(), default=1) or 1
    with _drawing(0.33 * len(names) + 0.35) as (figure, axes):
        axes.barh(range(len(names)), list(counts.values()), color=AFTER, height=0.62)
        for row, name in enumerate(names):
            axes.annotate(f"{counts[name]:,}", (counts[name] + most / 90, row), va="center", color=INK)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(0, most * 1.1)
        axes.xaxis.set_visible(False)
        axes.grid(visible=False)
        return _svg(figure)


def _running_mean(values: Sequence[float]) -> tuple[float, ...]:
    """Smooths a curve over windows of a tenth of its length."""
    reach = len(values) // 20
    windows = (values[max(0, i - reach) : i + reach + 1] for i in range(len(values)))
    return tuple(sum(window) / len(window) for window in windows)


@contextmanager
def _drawing(height_in: float, width_in: float = WIDTH_IN) -> Iterator[tuple[Any, Any]]:
    """Opens a figure without a display, in the report's style."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style: Any = {
        "svg.fonttype": "none",  # the page's font, and text that can be found and copied
        "svg.hashsalt": "cai",
        "font.size": 10,
        "text.color": INK,
        "axes.edgecolor": GRID,
        "axes.labelcolor": FAINT,
        "axes.grid": True,
        "axes.grid.axis": "x",
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "grid.color": GRID,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        "ytick.labelcolor": INK,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
    }
    with rc_context(style):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        yield figure, figure.add_subplot()


def _svg(figure: Any) -> str:
    """Gives the drawing as an element of the page, which sets its width."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = stream.getvalue()
    return drawn[drawn.index("<svg") :]
