"""Puts the gathered facts and the charts into the page's template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alignment.provenance import now
from alignment.report.charts import arms_chart, curve_chart, funnel_chart, types_chart
from alignment.report.gather import StageFacts, Training
from alignment.report.ladder import rungs_of, transcripts

TEMPLATE = "report.html.j2"


def render_page(stages: Sequence[StageFacts]) -> str:
    """Renders the report."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "duration": duration, "small": small}
    charts = {
        stage.number: {name: Markup(svg) for name, svg in _charts(stage).items()}  # our own SVG, labels escaped by it
        for stage in stages
    }
    curves = {run.name: [Markup(svg) for svg in _curves(run)] for stage in stages for run in stage.trainings}
    manifests = [run.manifest for stage in stages for run in stage.runs]
    return environment.get_template(TEMPLATE).render(
        stages=stages,
        rungs=rungs_of(stages) if len(stages) > 1 else [],
        transcripts=transcripts(stages) if len(stages) > 1 else [],
        base=min(manifests, key=lambda manifest: manifest.started),
        charts=charts,
        curves=curves,
        newest=max(manifests, key=lambda manifest: manifest.finished),
        constitutions=sorted({m.constitution_sha256 for m in manifests if m.constitution_sha256}),
        runs=sum(len(stage.runs) for stage in stages),
        seconds=sum(run.seconds for stage in stages for run in stage.runs),
        usd=sum(run.usd for stage in stages for run in stage.runs),
        written=now(),
    )


def _charts(stage: StageFacts) -> dict[str, str]:
    drawn = {}
    if stage.baseline:
        arms = {name: arm for name, arm in stage.baseline["arms"].items() if name != "raw_again"}
        gate = stage.baseline["verdict"]["gate"]
        counted = stage.baseline["verdict"]["counted_arms"]
        if stage.evaluation:
            arms["trained"] = stage.evaluation["arms"]["trained"]
            best = stage.evaluation["untrained"][stage.baseline["verdict"]["best_arm"]]
            drawn["types"] = types_chart(
                best["by_type"], arms["trained"]["by_type"], f"untrained ({stage.baseline['verdict']['best_arm']})"
            )
        drawn["arms"] = arms_chart(arms, counted, gate)
    if stage.funnel and "counts" in stage.funnel:
        drawn["funnel"] = funnel_chart(stage.funnel["counts"])
    return drawn


# What a training's charts show: title, figures of the log, whether they are the monitors' probes.
_PANELS: tuple[tuple[str, Mapping[str, str], bool], ...] = (
    ("Loss", {"loss": "loss"}, False),
    ("Reward margin, chosen − rejected", {"reward_margin": "margin"}, False),
    ("Chosen log-probability, nats a token", {"chosen_logp": "probe"}, True),
    (
        "Answers: ended, repeated, distinct",
        {"eos_rate": "ended", "repetition": "4-gram repetition", "distinct_2": "distinct-2"},
        True,
    ),
)


def _curves(run: Training) -> list[str]:
    drawn = []
    for title, figures, probed in _PANELS:
        entries = run.probes if probed else run.steps
        curves = {
            label: [(entry["step"], entry[name]) for entry in entries if name in entry]
            for name, label in figures.items()
        }
        if shown := {label: points for label, points in curves.items() if points}:
            drawn.append(curve_chart(title, shown, dots=probed))
    return drawn


def percent(share: float) -> str:
    """Writes a share as percent."""
    return f"{100 * share:.1f} %"


def duration(seconds: float) -> str:
    """Writes seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def small(value: Any) -> str:
    """Writes a p-value, or whatever else may be tiny."""
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"
