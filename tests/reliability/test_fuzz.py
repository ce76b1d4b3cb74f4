"""Task files that nobody would write: whatever the bytes, reading ends, refuses with reasons, and loses nothing."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon import log, taskfile
from daemon.events import Submitted
from daemon.task import Spec
from handlers.contract import KINDS, Parameter
from tests.reliability import record

NAME = "20260105_090000_P1_fuzzed"
FUZZ_S = float(os.environ.get("CAI_FUZZ_S", "600"))  # of the long run
LIMIT_S = 2.0  # for one file; a page of text takes a millisecond
ANY = {**KINDS, "act": tuple(Parameter(n, t, None, "") for n, t in [("a", float), ("b", int), ("c", str), ("d", bool)])}

# What a mutation is made of: the words that mean something to the reader, and what breaks readers of YAML and Markdown.
PIECES = [
    b"---\n", b"---", b"\n", b"\r\n", b" ", b"\t", b": ", b"- ", b"# ", b"## ", b"`", b"[", b"]", b"{", b"}", b"&a ", b"*a",
    b"!!python/object:os.system ", b"!!binary ", b"!!set ", b"!!timestamp ", b"<<: ", b"? ", b"|\n", b">\n", b"%YAML 1.1\n",
    b"handler: act\n", b"handler: train\n", b"assignee: me\n", b"stage: 1\n", b"depends_on: [", b"20260105_090000_P0_x",
    b"budget: {usd: 6}\n", b"review: method\n", b"params: {", b"a: ", b"b: ", b"c: ", b"d: ", b"model: ", b"../../etc/passwd",
    b"/etc/passwd", b".nan", b".inf", b"-.inf", b"1e999", b"0x10", b"0o7", b"1_000", b"9" * 400, b"1:30", b"2026-13-45",
    b"2026-01-01T00:00:00Z", b"yes", b"null", b"~", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\0", b"\x1b[2J", b"\x7f", b"\xc2\x85",
    b"\xe2\x80\xa8", b"\xef\xbb\xbf", b'"\\ud800"', b'"\\0"', b"'", b'"', b"Priority: P1\n", b"Handler: act\n",
    b"Dependencies: ", b"- [ ] `figure >= 1`\n", b"- [x] `figure >= 1e999`\n", b"- [ ] `a.b/c@d != -1.5`\n", b"- [ ] `x == 1e`\n",
    b"## Status Updates\n", b"- Waiting: ", b"- [2026-01-05T09:00:03Z] Started\n", b"# Title\n", b"a" * 300, b"[" * 40,
    b"{a: " * 40,
]  # fmt: skip
LINES = ["- [2026-01-05T09:00:03Z] Started, attempt 1", "- [2026-01-05T09:00:04Z] Completed: figure 1"]

files = st.lists(st.sampled_from(PIECES) | st.binary(max_size=12), max_size=60).map(b"".join) | st.lists(
    st.sampled_from(PIECES), max_size=30
).map(lambda pieces: b"---\nhandler: act\n" + b"".join(pieces) + b"\n---\n# T\n")


def check(content: bytes) -> None:
    """Holds every promise about one file."""
    begun_s = time.perf_counter()
    try:
        text = taskfile.decode(content)
        spec = taskfile.parse(NAME, text, ANY)
    except taskfile.Invalid as error:
        refusal: taskfile.Invalid | None = error
    else:
        refusal = None
        json.dumps(asdict(spec), allow_nan=False, ensure_ascii=False).encode()
        assert _through_the_log(text, spec) == Submitted(NAME, text, spec)
        for value in spec.params.values():
            assert not (isinstance(value, str) and spec.handler == "train" and value.startswith(("/", "..")))
    if refusal:
        assert refusal.faults
        assert all(isinstance(fault, str) and fault for fault in refusal.faults)
        "; ".join(refusal.faults).encode()
    rendered = taskfile.render(content, LINES, ("figure >= 1",), "x (pending)")
    assert taskfile.render(rendered, LINES, ("figure >= 1",), "x (pending)") == rendered
    assert all(line.encode() in rendered.split(b"\n") for line in LINES)
    theirs = [line.rstrip() for line in content.split(b"\n") if line.strip() and not line.startswith(b"- Waiting: ")]
    kept = [line.rstrip() for line in rendered.split(b"\n")]
    unticked = {line.replace(b"[x] `", b"[ ] `").replace(b"[X] `", b"[ ] `") for line in kept}
    assert [
        line for line in theirs if line.replace(b"[x] `", b"[ ] `").replace(b"[X] `", b"[ ] `") not in unticked
    ] == []
    taskfile.authored(rendered, LINES)
    assert time.perf_counter() - begun_s < LIMIT_S


def _through_the_log(text: str, spec: Spec) -> object:
    type_, task_id, run_id, attempt, data = log.encode(Submitted(NAME, text, spec))
    return log.decode(log.Row(1, "", "", 1, "", "", task_id, run_id, attempt, type_, 1, data, "", ""))


@settings(max_examples=400, deadline=None)
@given(files)
def test_no_file_breaks_the_reader(content: bytes) -> None:
    """Any bytes are read or refused with reasons, survive the log unchanged, and keep every line when they are rendered."""
    check(content)


@pytest.mark.sweep
@pytest.mark.fuzz
@pytest.mark.timeout(3600)
def test_no_file_breaks_the_reader_for_minutes(capsys: pytest.CaptureFixture[str]) -> None:
    """The same for as long as CAI_FUZZ_S says, with other files each time."""
    tried = 0

    @settings(max_examples=2000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(files)
    def once(content: bytes) -> None:
        nonlocal tried
        tried += 1
        check(content)

    until_s = time.monotonic() + FUZZ_S
    while time.monotonic() < until_s:
        once()
    record.note("fuzz", "task files", {"files": tried, "minutes": round(FUZZ_S / 60, 1), "crashes": 0, "hangs": 0})
    with capsys.disabled():
        print(f"\nfuzz            {tried} files  {FUZZ_S:.0f} s  0 crashes  0 hangs")


@pytest.mark.parametrize(
    "front", ["!!timestamp budget: {usd: 6}", "stage: !!int x", "params: !!binary x", "!!python/name:os.system x: 1"]
)
def test_a_tag_is_refused(front: str) -> None:
    """A YAML tag, which makes a reader build what it names, is a fault of the file and nothing worse."""
    with pytest.raises(taskfile.Invalid, match="tags"):
        taskfile.parse(NAME, f"---\nhandler: act\n{front}\n---\n# T\n", ANY)
