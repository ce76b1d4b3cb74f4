"""Where an artifact comes from: every manifest from it back to the base model, as a tree.

Reads manifests and hashes files; a link that is missing or no longer holds is told where it stands.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from alignment.locations import displayed, locate
from alignment.provenance import MANIFEST, FileRecord, Manifest, read_manifest, sha256_of_file, sha256_of_model
from alignment.refusal import Refusal


@dataclass(frozen=True, slots=True)
class Link:
    """One step on the way back: a run's folder, the base model, or a file that the project or a person wrote.

    Args:
        path: relative to the workspace or the installation.
        kind: baseline | generate | train | evaluate, "base model", "file", or "missing".
        facts: run, seed, commit, constitution and times of a run; the hash of a file or a model.
        problems: what is missing or has changed here.
        parents: what it was made of.
    """

    path: str
    kind: str
    facts: dict[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    parents: tuple[Link, ...] = ()

    def walk(self) -> Iterator[Link]:
        """Lists this link and everything behind it, each once."""
        seen: set[int] = set()
        waiting = [self]
        while waiting:
            link = waiting.pop()
            if id(link) not in seen:
                seen.add(id(link))
                yield link
                waiting += reversed(link.parents)

    def as_data(self) -> dict[str, Any]:
        """Gives the tree as JSON."""
        return asdict(self)


def trace(path: Path, workspace: Path, *, verify: bool = True) -> Link:
    """Walks an artifact back to the base model.

    Args:
        path: a run's folder in data/, or anything inside one.
        workspace: what manifests' paths are relative to.
        verify: hash every file on the way; a large base model takes minutes.
    """
    folder = _folder_of(path.resolve(), workspace.resolve())
    if folder is None:
        shown = displayed(path, workspace)
        problem = "there is no such file" if not path.exists() else f"no {MANIFEST} here or above: its run did not end"
        return Link(shown, "missing", problems=(problem,))
    return _trace_folder(folder, _Walk(workspace.resolve(), verify), ())


def _folder_of(path: Path, workspace: Path) -> Path | None:
    """Finds the folder with the manifest that answers for a path, without leaving the workspace."""
    for folder in (path, *path.parents):
        if (folder / MANIFEST).exists():
            return folder
        if folder == workspace:
            break
    return None


@dataclass(frozen=True, slots=True)
class _Walk:
    """What holds for the whole way back."""

    workspace: Path
    verify: bool
    traced: dict[Path, Link] = field(default_factory=dict)  # many runs stand on the same ones: each is traced once


def _trace_folder(folder: Path, walk: _Walk, above: tuple[Path, ...]) -> Link:
    if folder not in walk.traced:
        walk.traced[folder] = _traced(folder, walk, above)
    return walk.traced[folder]


def _traced(folder: Path, walk: _Walk, above: tuple[Path, ...]) -> Link:
    shown = displayed(folder, walk.workspace)
    try:
        manifest = read_manifest(folder)
    except Refusal as refusal:
        return Link(shown, "missing", problems=(refusal.reason,))
    return Link(
        path=shown,
        kind=manifest.kind,
        facts=_facts(manifest),
        problems=tuple(_changes(manifest.outputs, walk)),
        parents=tuple(_parents(manifest, walk, (*above, folder))),
    )


def _facts(manifest: Manifest) -> dict[str, Any]:
    facts = {
        "run": manifest.run_id,
        "stage": manifest.stage,
        "seed": manifest.seed,
        "commit": manifest.commit,
        "constitution": manifest.constitution_sha256,
        "started": manifest.started,
        "finished": manifest.finished,
        "device": manifest.device,
        "rows": {entry.path: entry.rows for entry in manifest.outputs if entry.rows is not None},
    }
    return {name: value for name, value in facts.items() if value not in (None, {})}


def _changes(files: tuple[FileRecord, ...], walk: _Walk) -> Iterator[str]:
    for entry in files:
        path = locate(entry.path, walk.workspace)
        if path is None:
            yield f"{entry.path}: gone"
        elif walk.verify and (seen := sha256_of_file(path)) != entry.sha256:
            yield f"{entry.path}: changed: sha256 is {seen[:12]}…, the manifest says {entry.sha256[:12]}…"


def _parents(manifest: Manifest, walk: _Walk, above: tuple[Path, ...]) -> list[Link]:
    """Follows a manifest's inputs: other runs' folders once each, then plain files, then the base model.

    A base model that stands behind one of those runs already is not told again.
    """
    folders: dict[Path, list[FileRecord]] = {}
    files = []
    for entry in manifest.inputs:
        path = locate(entry.path, walk.workspace)
        folder = None if path is None else _folder_of(path.resolve(), walk.workspace)
        if folder is None or not _is_run(folder):
            files.append(entry)
        elif folder not in above:
            folders.setdefault(folder, []).append(entry)
    links = []
    for folder, entries in folders.items():
        link = _trace_folder(folder, walk, above)
        more = [problem for problem in _changes(tuple(entries), walk) if problem not in link.problems]
        links.append(replace(link, problems=(*more, *link.problems)) if more else link)
    for entry in files:
        kind = "file" if locate(entry.path, walk.workspace) else "missing"
        links.append(Link(entry.path, kind, {"sha256": entry.sha256}, tuple(_changes((entry,), walk))))
    base = _base_model(manifest, walk)
    told = {(found.path, found.kind) for link in links for found in link.walk()}
    return links if (base.path, base.kind) in told else [*links, base]


def _is_run(folder: Path) -> bool:
    """Tells a run's manifest from one that a base model carries in a form of its own."""
    try:
        return "base_model" in json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return True  # it is meant to be one, and reading it will say what is wrong


def _base_model(manifest: Manifest, walk: _Walk) -> Link:
    facts = {"sha256": manifest.base_model_sha256}
    folder = locate(manifest.base_model, walk.workspace)
    if folder is None:
        return Link(manifest.base_model, "missing", facts, ("the base model is gone",))
    if (inner := _folder_of(folder.resolve(), walk.workspace)) is not None and _is_run(inner):
        # A merged model is a base that a run of ours made.
        return _trace_folder(inner, walk, ())
    if not walk.verify or (seen := sha256_of_model(folder)) == manifest.base_model_sha256:
        return Link(manifest.base_model, "base model", facts)
    return Link(manifest.base_model, "base model", facts, (f"changed: sha256 is {seen[:12]}…",))


def render(link: Link) -> str:
    """Draws the tree, one line a link, with what is wrong under it; what stands twice is drawn once."""
    return "\n".join(_lines(link, "", "", set()))


def _lines(link: Link, head: str, body: str, drawn: set[str]) -> Iterator[str]:
    if link.parents and link.path in drawn:
        yield f"{head}{link.kind}  {link.path}  (above)"
        return
    drawn.add(link.path)
    yield f"{head}{link.kind}  {link.path}  {_in_words(link.facts)}".rstrip()
    for problem in link.problems:
        yield f"{body}{'│ ' if link.parents else '  '} ! {problem}"
    for number, parent in enumerate(link.parents, start=1):
        last = number == len(link.parents)
        yield from _lines(parent, f"{body}{'└─ ' if last else '├─ '}", f"{body}{'   ' if last else '│  '}", drawn)


def _in_words(facts: dict[str, Any]) -> str:
    shown = []
    for name in ("stage", "seed", "commit", "constitution", "sha256", "finished"):
        if name in facts:
            value = os.fspath(facts[name]) if isinstance(facts[name], str) else str(facts[name])
            shown.append(f"{name} {value[:12] if name in ('commit', 'constitution', 'sha256') else value}")
    shown += [f"{rows} rows in {Path(path).name}" for path, rows in facts.get("rows", {}).items()]
    return " · ".join(shown)
