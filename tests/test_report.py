"""The report is one file, shows what the runs left, and asks no network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from alignment.assessment import tally
from alignment.comparison import compare, judge
from alignment.gap import judge_gap
from alignment.provenance import Manifest, record, sha256_of_model, write_jsonl, write_manifest
from alignment.refusal import Refusal
from alignment.report import write_report
from alignment.settings import EvaluateSettings
from handlers.report import main

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TEAL = (15, 118, 110)  # what a trained model is drawn in
HOSTILE = '<script>alert("x")</script> & {{ 7 * 7 }}'


def answers(arm: str, passed: int) -> list[dict[str, Any]]:
    """60 items of two types, of which the first `passed` pass."""
    return [
        {
            "arm": arm, "item": f"i{i:02d}", "type": ("tell", "list")[i % 2], "strict": i < passed, "loose": i < passed,
            "instruction": f"Say the number {i}.", "completion": HOSTILE if i == 59 else f"The number {i}.",
            "completion_tokens": 5,
        }
        for i in range(60)
    ]  # fmt: skip


def leave(workspace: Path, kind: str, inputs: list[Path], facts: dict[str, Any], minute: int) -> Path:
    """Closes a run's folder with its manifest."""
    folder = workspace / "data" / f"run-{kind}"
    outputs = sorted(path for path in folder.iterdir() if path.name != "manifest.json")
    write_manifest(
        folder,
        Manifest(
            kind=kind, run_id=f"run-{kind}", stage=1, inputs=tuple(record(path, workspace) for path in inputs),
            outputs=tuple(record(path, workspace) for path in outputs), config={}, seed=3, base_model="base",
            base_model_sha256=sha256_of_model(workspace / "base"), constitution_sha256="c" * 64, device="cpu",
            started=f"2026-01-05T09:{minute:02d}:00+00:00", finished=f"2026-01-05T09:{minute:02d}:30+00:00",
            versions={"torch": "2.13"}, commit="abcdef123456", facts=facts,
        ),
    )  # fmt: skip
    return folder


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A stage that went through: 12 of 60 before, 59 after."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    for kind in ("baseline", "generate", "train", "evaluate"):
        (tmp_path / "data" / f"run-{kind}").mkdir(parents=True)
    data, settings = tmp_path / "data", EvaluateSettings()

    arms = {name: answers(name, passed) for name, passed in (("raw", 12), ("raw_again", 12), ("cue", 40))}
    tallies = {name: tally(rows, 0.95) for name, rows in arms.items()}
    judged = {name: tallies[name] for name in ("raw", "cue")}
    gap = judge_gap(judged, ("raw",), gate=0.95, saturation=0.95, noise_floor=0.0)
    untrained = {name: t.as_figures() for name, t in tallies.items()}
    write_jsonl(data / "run-baseline" / "completions.jsonl", [row for rows in arms.values() for row in rows])
    (data / "run-baseline" / "figures.json").write_text(
        json.dumps({"items": 60, "verdict": gap.as_figures(), "noise_floor": 0.0, "arms": untrained})
    )
    leave(tmp_path, "baseline", [], {"verdict": gap.as_figures()}, 0)

    calibration = {"auc": 0.973, "accuracy": 0.94, "consistency": 0.9, "decided": 0.8, "n": 100, "priors": []}
    counts = {"asked": 10, "parsed": 300, "valid": 280, "distinct": 90, "accepted": 70, "paired": 60}
    (data / "run-generate" / "funnel.json").write_text(
        json.dumps({"counts": counts, "losses": {"distinct.exact": 190}, "steps": [], "critic": calibration})
    )
    leave(tmp_path, "generate", [], {}, 1)

    log = [{"step": step, "loss": 1 / step, "reward_margin": step / 10} for step in range(1, 21)]
    vitals = {"chosen_logp": -0.4, "eos_rate": 1.0, "repetition": 0.0, "distinct_2": 0.8}
    write_jsonl(data / "run-train" / "training.jsonl", [{"step": 0, "probe": vitals}, *log])
    leave(tmp_path, "train", [data / "run-generate" / "funnel.json"], {"method": "dpo", "metrics": {"rows": 70.0}}, 2)

    trained = answers("trained", 59)
    compared = compare(arms["raw"], trained, settings, 0)
    verdict = judge(
        tally(trained, 0.95), compared, {"accuracy": 0.95}, {"accuracy": 59 / 60}, [], settings,
        baseline_verdict="gap", noise_floor=0.0,
    )  # fmt: skip
    write_jsonl(data / "run-evaluate" / "completions.jsonl", trained)
    (data / "run-evaluate" / "figures.json").write_text(
        json.dumps(
            {
                "items": 60,
                "verdict": {"verdict": verdict.verdict, "evidence": verdict.evidence},
                "arms": {"trained": tally(trained, 0.95).as_figures()},
                "untrained": untrained,
                "compared": {"raw": compared.as_figures()},
                "regressions": [],
            }
        )
    )
    leave(tmp_path, "evaluate", [data / "run-train" / "training.jsonl"], {}, 3)
    return tmp_path


class Outline(HTMLParser):
    """Collects a page's text and everything that it could load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def page(workspace: Path) -> str:
    return write_report(workspace, workspace / "report.html", {"run-train": 2.4}).read_text()


def test_report_shows_what_was_measured(page: str) -> None:
    """Verdict, arms, types, funnel, critic, curves, time and cost stand in the page's text."""
    text = Outline(page).text
    for part in (
        "20.0 % → 98.3 %", "passed", "47 : 0", "cue", "untrained (raw)",
        "Training by DPO: 70 rows, 20 steps", "Reward margin", "0.973", "distinct.exact", "2.0 min", "0.02 USD",
        "train  data/run-train", "base model  base",
    ):  # fmt: skip
        assert part in text, part


def test_report_shows_failures_beside_gains(page: str) -> None:
    """The item that still fails comes first, and what a model wrote is text, never markup or template."""
    outline = Outline(page)
    assert HOSTILE in outline.text
    assert "script" not in outline.tags
    assert outline.text.index("Say the number 59.") < outline.text.index("Say the number 13.")


def test_report_loads_nothing(page: str) -> None:
    """Every reference points into the page itself, and the page is small."""
    outline = Outline(page)
    assert all(load.startswith("#") for load in outline.loads), outline.loads
    assert not re.search(r"url\((?!#)|@import", page)
    assert len(page) < 400_000


def test_report_is_the_same_for_the_same_runs(workspace: Path) -> None:
    """Only the time of writing differs between two reports."""
    first, second = (
        re.sub("Written [^ ]+", "", write_report(workspace, workspace / name).read_text()) for name in "ab"
    )
    assert first == second


def test_report_of_a_baseline_alone(workspace: Path) -> None:
    """What has not run yet is left out."""
    for kind in ("generate", "train", "evaluate"):
        shutil.rmtree(workspace / "data" / f"run-{kind}")
    text = Outline(write_report(workspace, workspace / "report.html").read_text()).text
    assert "best counted arm raw" in text
    assert "side by side" not in text


def test_report_of_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a completed run there is nothing to show, and the command says what to do."""
    with pytest.raises(Refusal, match="no completed run"):
        write_report(tmp_path, tmp_path / "report.html")
    assert main(tmp_path) == 1
    assert "cai plan" in capsys.readouterr().err


def browse(page: Path) -> tuple[Path, list[str]]:
    """Opens a page in a real browser; gives the screenshot, and who asked for each request but the browser itself."""
    assert CHROMIUM is not None
    shot, netlog = page.with_suffix(".png"), page.with_suffix(".net.json")
    quiet = ("quic", "background-networking", "component-update", "sync", "gpu")
    subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{feature}" for feature in quiet),
            "--window-size=1000,2400", f"--user-data-dir={page.parent / 'browser'}", f"--log-net-log={netlog}",
            f"--screenshot={shot}", page.as_uri(),
        ],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    initiators = re.findall(r'"initiator":"([^"]*)"', netlog.read_text())
    return shot, [initiator for initiator in initiators if initiator != "not an origin"]


@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium, such as Debian's package chromium")
def test_report_renders_in_a_browser_without_a_network(workspace: Path) -> None:
    """A real browser draws the charts, and the page asks it for nothing."""
    from PIL import Image

    shot, requests = browse(write_report(workspace, workspace / "report.html"))
    assert requests == []
    with Image.open(shot) as image:
        teal = sum(count for count, colour in image.convert("RGB").getcolors(1 << 24) or () if colour == TEAL)
    assert teal > 2000, "the charts are not drawn"


@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium, such as Debian's package chromium")
def test_browser_notices_a_page_that_asks(tmp_path: Path) -> None:
    """The test above can fail: a page with one foreign image is caught."""
    page = tmp_path / "asks.html"
    page.write_text('<img src="http://127.0.0.1:9/pixel.png">')
    assert browse(page)[1]
