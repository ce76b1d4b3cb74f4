"""A task file: what its name and text ask for, and the lines that the daemon writes into it.

Reading is strict and lists every fault; writing touches `## Status Updates` and the boxes of met
criteria, nothing else.
It works on text and bytes alone: where files lie is the business of `folders`.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from daemon.task import Criterion, Spec
from handlers.contract import KINDS, Parameter, parameter_faults

NAME = re.compile(r"(\d{8}_\d{6})_P([0-3])_[A-Za-z0-9][A-Za-z0-9._-]{0,120}", re.ASCII)
KEYS = ("handler", "assignee", "stage", "depends_on", "estimate", "budget", "review", "params")
STATUS_HEADING = "## Status Updates"
WAITING = "- Waiting: "
MAX_DEPTH = 8  # of nested YAML; a task file needs three

# None of these patterns may have two neighbours that match the same characters: a file may be a megabyte of them.
_CRITERION = re.compile(
    rb"^([ \t]*[-*] \[)([ xX])(\] `([A-Za-z][\w.\-/@]*)[ \t]*(>=|<=|==|!=|>|<)[ \t]*([-+0-9.eE]+)[ \t]*`.*)$",
    re.MULTILINE,
)
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*$\n?", re.DOTALL | re.MULTILINE)
_FIELD = re.compile(
    r"^[ \t]*(?:[-*][ \t]+)?\**(Priority|Estimated Time|Handler|Assignee|Stage|Dependencies|Depends on)\**"
    r"[ \t]*:(.*)$",
    re.MULTILINE | re.IGNORECASE,
)


class Invalid(ValueError):
    """The text cannot be a task; `faults` says everything that is wrong with it."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


def order(task_id: str) -> tuple[str, str]:
    """Gives a task's place in the queue by its name: priority, then timestamp."""
    found = NAME.fullmatch(task_id)
    return (found[2], found[1]) if found else ("9", "")


def name_faults(task_id: str) -> list[str]:
    """Says what is wrong with a task's name."""
    if "~" in task_id:
        original = task_id.partition("~")[0]
        return [f"name: there is a task {original} already, so this file was set aside; give it another name"]
    found = NAME.fullmatch(task_id)
    if not found:
        shape = "YYYYMMDD_HHMMSS_P0_description.md with P0 to P3 and letters, digits, dots, dashes and underscores"
        return [f"name: {task_id + '.md'!r} is not of the form {shape}; rename the file"]
    try:
        datetime.datetime.strptime(found[1], "%Y%m%d_%H%M%S")
    except ValueError:
        return [f"name: {found[1]!r} is no date and time (YYYYMMDD_HHMMSS); rename the file"]
    return []


def decode(content: bytes) -> str:
    """Decodes a task file.

    Raises:
        Invalid: it is not UTF-8 text.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        where = f"byte {error.start} is 0x{content[error.start]:02x}"
        raise Invalid([f"text: not UTF-8: {where}; save the file as UTF-8"]) from error
    if "\0" in text:
        raise Invalid([f"text: a NUL character at position {text.index(chr(0))}; a task file is plain text"])
    return text.replace("\r\n", "\n")


def parse(task_id: str, text: str, kinds: Mapping[str, tuple[Parameter, ...]] = KINDS) -> Spec:
    """Reads what a task file asks for.

    Args:
        task_id: its name without `.md`.
        text: its whole text.
        kinds: the handlers that there are, with the parameters that each takes.

    Raises:
        Invalid: with all faults at once, each with the value seen and what to do.
    """
    faults = name_faults(task_id)
    yaml_faults: tuple[str, ...] = ()
    raw: dict[str, Any] = {}
    try:
        raw = front_matter(text)[0] if text.startswith("---\n") else _body_fields(text)
    except Invalid as error:
        yaml_faults = error.faults
        faults += yaml_faults
    if not text.strip():
        faults.append("text: the file is empty")
    if not yaml_faults:
        spec_faults, spec = _spec(raw, task_id, text, kinds)
        faults += spec_faults
    if faults:
        raise Invalid(faults)
    return spec


class _StrictLoader(yaml.CSafeLoader):
    """YAML's safe subset without repeated keys."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is there twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def front_matter(text: str) -> tuple[dict[str, Any], str]:
    """Reads the YAML between the two `---` lines that a file begins with.

    Returns:
        Its keys, and the text below it.

    Raises:
        Invalid: there is none, or it is not plain `key: value` YAML.
    """
    found = _FRONT_MATTER.match(text)
    if not found:
        raise Invalid(["front matter: no block between two `---` lines; begin the file with one"])
    try:
        _refuse_bombs(found[1])
        raw = yaml.load(found[1], Loader=_StrictLoader)
        json.dumps(raw, default=str, allow_nan=False)  # what the log cannot hold: .nan, 0xfff… of 6,000 digits
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 2}, column {mark.column + 1}" if mark else "?"
        problem = getattr(error, "problem", None) or error
        raise Invalid([f"front matter: {where}: {problem}; mend the YAML"]) from error
    except (
        ValueError,
        OverflowError,
        TypeError,
        AttributeError,
        LookupError,
    ) as error:  # such as a date that does not exist, or a list as a key
        raise Invalid([f"front matter: not readable: {error}; mend the YAML"]) from error
    if not isinstance(raw, dict | None):
        raise Invalid([f"front matter: expected `key: value` lines, got {type(raw).__name__}"])
    return raw or {}, text[found.end() :]


def _refuse_bombs(text: str) -> None:
    """Refuses aliases, by which a short text can unfold without bound, and nesting that a task file never needs."""
    depth = 0
    events: Any = yaml.parse(text, Loader=yaml.CSafeLoader)
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        problem = "aliases (*name) are not allowed" if isinstance(event, yaml.AliasEvent) else ""
        problem = problem or ("tags (!name) are not allowed" if getattr(event, "tag", None) else "")
        problem = problem or (f"nested more than {MAX_DEPTH} deep" if depth > MAX_DEPTH else "")
        if problem:
            mark: Any = event.start_mark
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _body_fields(text: str) -> dict[str, Any]:
    """Reads the plain fields of a file without front matter: `Handler: baseline`, `Priority: P1` …"""
    raw: dict[str, Any] = {}
    for name, written in _FIELD.findall(text):
        value = written.strip(" \t*")
        match name.lower():
            case "handler" | "assignee":
                raw.setdefault(name.lower(), value.strip("`").lower() if name.lower() == "handler" else value)
            case "estimated time":
                raw.setdefault("estimate", value)
            case "stage" if value.isdecimal():
                raw.setdefault("stage", int(value))
            case "priority":
                raw.setdefault("priority", value)
            case "dependencies" | "depends on" if value.lower() not in ("", "none", "-"):
                raw.setdefault("depends_on", [part.strip(" `[]") for part in value.split(",")])
    return raw


def _spec(
    raw: dict[str, Any], task_id: str, text: str, kinds: Mapping[str, tuple[Parameter, ...]]
) -> tuple[list[str], Spec]:
    faults = []
    priority = raw.pop("priority", None)
    if priority is not None and (found := NAME.fullmatch(task_id)) and f"P{found[2]}" not in str(priority).upper():
        faults.append(f"Priority: {priority!r} contradicts P{found[2]} in the file's name; make them agree")
    for key in raw:
        if key not in KEYS:
            faults.append(f"{key}: unknown; a task file has {', '.join(KEYS)}")

    handler, assignee = raw.get("handler"), raw.get("assignee")
    if handler is None and assignee is None:
        faults.append(f"handler: missing; name one of {', '.join(kinds)}, or an assignee: for work done by hand")
    elif handler is not None and handler not in kinds:
        faults.append(f"handler: {handler!r} is not one of {', '.join(kinds)}")
    for key in ("assignee", "estimate", "review"):
        if raw.get(key) is not None and not isinstance(raw[key], str | int | float):
            faults.append(f"{key}: expected a text, got {raw[key]!r}")
    stage = raw.get("stage")
    if stage is not None and (isinstance(stage, bool) or not isinstance(stage, int) or not 1 <= stage <= 6):
        faults.append(f"stage: {stage!r} is not a whole number from 1 to 6")
    review = raw.get("review")
    if isinstance(review, str) and not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,40}", review):
        faults.append(f"review: {review!r} cannot be a reviewer's folder; use a-z, 0-9, dashes and underscores")

    depends_on = raw.get("depends_on") or []
    if not isinstance(depends_on, list) or not all(isinstance(d, str) for d in depends_on):
        faults.append(f"depends_on: expected a list of task names, got {depends_on!r}")
        depends_on = []
    depends_on = [d.removesuffix(".md") for d in depends_on]
    for name in depends_on:
        faults += [f"depends_on: {fault}" for fault in name_faults(name)]

    budget = raw.get("budget")
    usd = budget.get("usd") if isinstance(budget, dict) and set(budget) == {"usd"} else None
    if budget is not None and (isinstance(usd, bool) or not isinstance(usd, int | float) or not 0 < usd < 1e9):
        faults.append(f"budget: expected {{usd: a positive number}}, got {budget!r}")
        usd = None

    params = raw.get("params") or {}
    if not isinstance(params, dict) or not all(isinstance(k, str) for k in params):
        faults.append(f"params: expected `name: value` lines, got {params!r}")
    elif params and handler is None:
        faults.append("params: only a handler takes parameters")
    elif handler is not None and handler in kinds:
        faults += parameter_faults(handler, params, kinds)
    if faults:
        return faults, Spec()
    return [], Spec(
        handler=handler,
        assignee=str(assignee) if assignee is not None else None,
        stage=stage,
        depends_on=tuple(dict.fromkeys(depends_on)),
        estimate=str(raw.get("estimate") or ""),
        budget_usd=float(usd) if usd is not None else None,
        review=review,
        params=params,
        criteria=_criteria(text),
    )


def _criteria(text: str) -> tuple[Criterion, ...]:
    return tuple(c for found in _CRITERION.finditer(text.encode()) if (c := _criterion(found)))


def _criterion(found: re.Match[bytes]) -> Criterion | None:
    """Reads one criterion, or gives None where its bound is no figure: that one is left to people."""
    try:
        bound = float(found[6])
    except ValueError:
        return None
    return Criterion(found[4].decode(), found[5].decode(), bound) if math.isfinite(bound) else None


# ------------------------------------------------------------------ writing


def authored(content: bytes, lines: Sequence[str]) -> bytes:
    """Gives what people wrote in a task file: its content without the daemon's status lines and ticks, trimmed at its end."""
    ours = {line.encode() for line in lines}
    content = _CRITERION.sub(rb"\1 \3", content)
    headings = list(_SECTION.finditer(content))
    if not headings:
        return content.rstrip() + b"\n"
    start = headings[-1].end()
    following = _NEXT_HEADING.search(content, start)
    end = following.start() if following else len(content)
    kept = [x for x in content[start:end].split(b"\n") if x not in ours and not x.startswith(WAITING.encode())]
    body = b"\n".join(kept).strip(b"\n")
    before, rest = content[: headings[-1].start()], content[end:]
    if body:
        before = content[:start] + b"\n" + body + b"\n"
    return before.rstrip() + b"\n" + (b"\n" + rest if rest else b"")


_SECTION = re.compile(rb"^## Status Updates[ \t]*$", re.MULTILINE)
_NEXT_HEADING = re.compile(rb"^#{1,2} ", re.MULTILINE)


def render(content: bytes, lines: Sequence[str], met: Sequence[str] = (), waiting: str = "") -> bytes:
    """Writes status lines into a task file's content and ticks the criteria that are met.

    What is not the daemon's stays as it is, byte for byte: lines that people wrote in the section too. Rendering the
    result again with the same lines changes nothing.

    Args:
        content: the file as it is now.
        lines: every status line that the log gives for the task, in order.
        met: the criteria that are met, as `str(criterion)` writes them.
        waiting: what the task waits for now, or nothing.
    """

    def tick(found: re.Match[bytes]) -> bytes:
        return found[1] + (b"x" if str(_criterion(found)) in met else found[2]) + found[3]

    content = _CRITERION.sub(tick, content)
    headings = list(_SECTION.finditer(content))
    if not headings:
        if not lines and not waiting:
            return content
        content = content.rstrip(b"\n") + b"\n\n" + STATUS_HEADING.encode() + b"\n"
        headings = list(_SECTION.finditer(content))
    start = headings[-1].end()
    following = _NEXT_HEADING.search(content, start)
    end = following.start() if following else len(content)
    section = [line for line in content[start:end].split(b"\n") if not line.startswith(WAITING.encode())]
    body = b"\n".join(section).strip(b"\n")
    present = set(body.split(b"\n"))
    new = [line.encode() for line in lines if line.encode() not in present]
    if waiting:
        new.append((WAITING + waiting).encode())
    body = b"\n".join([body, *new] if body else new)
    rest = content[end:]
    return content[:start] + b"\n" + body + (b"\n" if body else b"") + (b"\n" + rest if rest else b"")
