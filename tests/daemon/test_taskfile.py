"""Task files: what is read from them, everything that is wrong with them, and the lines written into them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import taskfile
from daemon.task import Criterion, Spec
from daemon.taskfile import Invalid, authored, parse, render
from handlers.contract import Parameter

NAME = "20260105_090000_P1_x"
KINDS = {
    "act": (
        Parameter("do", str, "complete", "", choices=("complete", "fail")),
        Parameter("seconds", float, 0.0, "", minimum=0),
        Parameter("count", int, 0, ""),
        Parameter("where", __import__("pathlib").Path, None, ""),
    )
}


def faults_of(text: str, name: str = NAME) -> tuple[str, ...]:
    """Gives the faults of a text, or none."""
    try:
        parse(name, text, KINDS)
    except Invalid as error:
        return error.faults
    return ()


# ------------------------------------------------------------------ reading


def test_front_matter_is_read_into_a_spec() -> None:
    """Every key of the front matter and every checkable criterion of the body is taken over."""
    text = """---
handler: act
stage: 1
depends_on: [20260105_080000_P0_base.md, 20260105_080000_P0_base]
estimate: 2h
budget: {usd: 6}
review: method
params: {do: fail, seconds: 2}
---
# Do it
- [ ] `pairs.unique >= 500`
- [x] `loss < 1e-2` soon
- [ ] the funnel looks sane to a person
"""
    assert parse(NAME, text, KINDS) == Spec(
        handler="act", assignee=None, stage=1, depends_on=("20260105_080000_P0_base",), estimate="2h", budget_usd=6.0,
        review="method", params={"do": "fail", "seconds": 2},
        criteria=(Criterion("pairs.unique", ">=", 500.0), Criterion("loss", "<", 0.01)),
    )  # fmt: skip


def test_plain_fields_are_read_where_there_is_no_front_matter() -> None:
    """The fields that people write into the body are understood, in bold, as a list, in any case."""
    text = """# Do it
**Priority:** P1 (high)
- Estimated Time: 2 hours
Handler: `act`
stage: 2
Dependencies: `20260105_080000_P0_a`, 20260105_080000_P0_b.md
"""
    assert parse(NAME, text, KINDS) == Spec(
        handler="act", stage=2, estimate="2 hours", depends_on=("20260105_080000_P0_a", "20260105_080000_P0_b")
    )


def test_a_task_may_be_for_a_person() -> None:
    """An assignee stands in for a handler."""
    assert parse(NAME, "---\nassignee: ada\n---\n", KINDS).assignee == "ada"


def test_all_faults_are_listed_at_once() -> None:
    """A person mends a file once: every fault is named with its key and the value seen."""
    found = faults_of(
        "---\nhandler: sing\nstage: 9\ndepends_on: ../x\nbudget: 6\nreview: ../../etc\nparams: 3\ncolour: red\n---\n",
        "20261305_090000_P1_x",
    )
    for key, value in [("name", "20261305_090000"), ("handler", "'sing'"), ("stage", "9"), ("depends_on", "'../x'"),
                       ("budget", "6"), ("review", "'../../etc'"), ("params", "3"), ("colour", "unknown")]:  # fmt: skip
        assert any(fault.startswith(f"{key}:") and value in fault for fault in found), (key, found)
    assert len(found) == 8


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("baseline", "not of the form"),
        ("20260105_090000_P4_x", "not of the form"),
        ("20260105_090000_P1_", "not of the form"),
        ("20260105_090000_P1_a b", "not of the form"),
        ("20260105_090000_P1_../../x", "not of the form"),
        ("٢٠٢٦٠١٠٥_٠٩٠٠٠٠_P1_x", "not of the form"),
        ("20260230_090000_P1_x", "no date"),
        ("20260105_250000_P1_x", "no date"),
        (NAME + "~1", f"there is a task {NAME} already"),
    ],
)
def test_a_wrong_name_is_said_to_be_wrong(name: str, what: str) -> None:
    """The name carries priority and time, so it is checked in full."""
    (fault,) = faults_of("---\nhandler: act\n---\n", name)
    assert what in fault


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "the file is empty"),
        ("   \n", "the file is empty"),
        ("# No handler\n", "handler: missing"),
        ("---\nhandler: act\n", "two `---` lines"),
        ("---\n- a\n- b\n---\n", "expected `key: value` lines, got list"),
        ("---\nhandler: act\nhandler: act\n---\n", "the key 'handler' is there twice"),
        ("---\nhandler: [act\n---\n", "line 3"),
        ("---\nhandler: !!python/object:os.system x\n---\n", "tags"),
        ("---\na: &a [1]\nb: *a\n---\n", "aliases (*name) are not allowed"),
        ("---\na: " + "[" * 40 + "]" * 40 + "\n---\n", "nested more than 8 deep"),
        ("---\nhandler: act\nstage: 2026-02-30\n---\n", "not readable"),
        ("---\nhandler: act\nstage: 0x" + "f" * 6000 + "\n---\n", "not readable"),
        ("---\nhandler: act\nparams: {count: 0x" + "f" * 6000 + "}\n---\n", "not readable"),
        ("---\nhandler: act\nparams: {seconds: .inf}\n---\n", "not readable"),
        ("---\nhandler: act\nparams: {seconds: .nan}\n---\n", "not readable"),
        ("---\nhandler: act\nparams: {seconds: -1}\n---\n", "params.seconds: -1 is less than 0"),
        ("---\nhandler: act\nparams: {do: sing}\n---\n", "'sing' is not one of complete, fail"),
        ("---\nhandler: act\nparams: {speed: 1}\n---\n", "params.speed: unknown to act"),
        ("---\nhandler: act\nparams: {count: true}\n---\n", "expected a whole number, got True"),
        ("---\nhandler: act\nparams: {where: ../../etc/passwd}\n---\n", "not a path inside the workspace"),
        ("---\nhandler: act\nparams: {where: /etc/passwd}\n---\n", "not a path inside the workspace"),
        ("---\nassignee: ada\nparams: {do: fail}\n---\n", "only a handler takes parameters"),
        ("---\nhandler: act\nbudget: {usd: -1}\n---\n", "expected {usd: a positive number}"),
        ("---\nhandler: act\n? [a, b]\n: c\n---\n", "not readable"),
        ("---\n{a: 1}: 2\n---\n", "not readable"),
        ("---\nhandler: act\nassignee: [a]\n---\n", "assignee: expected a text"),
        ("Handler: act\nPriority: P3\n", "Priority: 'P3' contradicts P1"),
    ],
)
def test_a_broken_text_is_refused_with_the_reason(text: str, what: str) -> None:
    """Whatever is in the front matter ends as a fault that a person can read."""
    assert any(what in fault for fault in faults_of(text)), faults_of(text)


def test_an_alias_bomb_is_refused_before_it_unfolds() -> None:
    """A billion laughs cost nothing."""
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 64)]
    (fault,) = faults_of("---\n" + "\n".join(lines) + "\n---\n")
    assert "aliases" in fault


@pytest.mark.parametrize(
    "text",
    [
        "Handler: act" + " " * 400_000 + "x",
        " " * 900_000 + "x",
        "\n" * 900_000 + "- [ ] `x",
        "- [ ] `" + "a" * 900_000,
        "---\n" * 200_000,
        "- [ ] `a >= " + "1" * 900_000,
    ],
    ids=["spaces in a field", "spaces", "empty lines", "long name", "many fences", "long bound"],
)
@pytest.mark.timeout(10)
def test_no_text_of_a_permitted_size_keeps_the_reader_busy(text: str) -> None:
    """Reading and writing take time in proportion to the text: no pattern backtracks over a megabyte of it."""
    faults_of(text)
    render(text.encode(), ["- [t] line"])
    authored(text.encode(), [])


@pytest.mark.parametrize("bound", ["1.2.3", "-", "e", "1e999"])
def test_a_criterion_without_a_figure_is_left_to_people(bound: str) -> None:
    """What looks like a criterion but has no finite figure is neither checked nor ticked, and breaks nothing."""
    text = f"---\nhandler: act\n---\n- [ ] `version >= {bound}`\n"
    assert parse(NAME, text, KINDS).criteria == ()
    assert render(text.encode(), []) == text.encode()


def test_text_that_is_no_utf8_is_refused_with_the_place() -> None:
    """Bad bytes and NULs are named by position."""
    with pytest.raises(Invalid, match="byte 2 is 0xff"):
        taskfile.decode(b"ab\xff")
    with pytest.raises(Invalid, match="NUL character at position 1"):
        taskfile.decode(b"a\0b")


@given(st.text(max_size=400))
def test_any_text_is_read_or_refused(text: str) -> None:
    """The reader knows two ends: a spec, or faults."""
    faults_of(text)
    faults_of(f"---\n{text}\n---\n")


yaml_bits = st.sampled_from(
    ["handler: act", "params:", "  do: fail", "? ", ": ", "- ", "[", "]", "{", "}", "&a", "*a", "!!binary x", "!!set",
     "<<: {a: 1}", "2026-01-01", "0x1f", "1_000", "~", "'", '"', "|", ">", "%YAML 1.1", "---", "...", "\t", "stage: ",
     "depends_on: ", "budget: ", "usd: 1e3", "\\ud800", "\x07", "\ufeff", "999" * 20]
)  # fmt: skip


@given(st.lists(st.tuples(yaml_bits, st.sampled_from(["", " ", "\n"])), max_size=25))
def test_any_front_matter_is_read_or_refused(bits: list[tuple[str, str]]) -> None:
    """Pieces of YAML in any order never break the reader."""
    faults_of("---\n" + "".join(a + b for a, b in bits) + "\n---\n")


# ------------------------------------------------------------------ writing

LINES = ["- [2026-01-05T09:00:00Z] Started, attempt 1, run x.1", "- [2026-01-05T09:00:01Z] Completed: a 1"]
pieces = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from(
            [b"\n", b"## Status Updates", b"## Status Updates\n", b"# Title\n", b"## Notes\n", b"- mine\n", b"\r\n",
             b"- [ ] `a >= 1`\n", b"- [x] `a >= 1.2.3`\n", b"- [ ] `b < -`", b"- Waiting: for Godot\n", b"   \n",
             LINES[0].encode() + b"\n", LINES[1].encode()]
        ),
    ),
    max_size=12,
).map(b"".join)  # fmt: skip


def lines_of_people(content: bytes) -> list[bytes]:
    """Gives what is not the daemon's in a file: its lines without ours, ticks and empty ones."""
    ours = {line.encode() for line in LINES}
    heading = re.compile(rb"## Status Updates[ \t]*")
    kept = [x for x in content.split(b"\n") if x not in ours and not x.startswith(b"- Waiting: ")]
    return [x.replace(b"[x]", b"[ ]").rstrip() for x in kept if x.strip() and not heading.fullmatch(x)]


@given(pieces, st.integers(0, 2), st.sampled_from(["", "something"]))
def test_rendering_twice_is_rendering_once(content: bytes, known: int, waiting: str) -> None:
    """The daemon may write its lines as often as it likes."""
    once = render(content, LINES[:known], ["a >= 1"], waiting)
    assert render(once, LINES[:known], ["a >= 1"], waiting) == once


@given(pieces, st.integers(0, 2))
def test_rendering_keeps_what_people_wrote(content: bytes, known: int) -> None:
    """Every line of a person stands in the rendered file, in order; every line of the daemon stands there too."""
    rendered = render(content, LINES[:known], [], "")
    assert lines_of_people(rendered) == lines_of_people(content)
    assert all(line.encode() in rendered.split(b"\n") for line in LINES[:known])


@given(pieces, st.integers(0, 2), st.sampled_from(["", "something"]))
def test_authored_undoes_render(content: bytes, known: int, waiting: str) -> None:
    """What people wrote is the same before and after the daemon's lines came in, so they are no edit."""
    rendered = render(content, LINES[:known], ["a >= 1"], waiting)
    assert authored(rendered, LINES[:known]) == authored(content, LINES[:known])


def test_the_section_is_made_at_the_end_where_there_is_none() -> None:
    """Status lines come below everything else."""
    assert render(b"# A\n", LINES).decode() == "# A\n\n## Status Updates\n" + "\n".join(LINES) + "\n"


def test_lines_come_in_before_the_next_heading() -> None:
    """What people wrote below the section stays below it, and their lines in it stay in it."""
    content = b"# A\n## Status Updates\n- mine\n\n## Notes\nyes\n"
    expected = f"# A\n## Status Updates\n- mine\n{LINES[0]}\n\n## Notes\nyes\n"
    assert render(content, LINES[:1]).decode() == expected


def test_met_criteria_are_ticked() -> None:
    """A box whose criterion is met is ticked, however its figure is written; others are left as people set them."""
    content = b"- [ ] `a >= 5.0e2`\n- [ ] `b < 1`\n- [x] `c < 1`\n- [ ] a person's\n"
    assert render(content, [], ["a >= 500"]) == content.replace(b"[ ] `a", b"[x] `a")


def test_the_waiting_line_is_replaced() -> None:
    """What a task waits for is one line that goes when the wait is over."""
    waits = render(b"# A\n", [], waiting="one")
    assert b"- Waiting: one" in waits
    assert b"Waiting" not in render(waits, LINES[:1])
    assert render(waits, [], waiting="two").count(b"Waiting") == 1
