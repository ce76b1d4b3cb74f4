"""Provenance: who made an artifact, from what and how, in a manifest.json that is written last.

A folder with a manifest is complete; one without is not. Inputs are named by path and sha256, and an input's own
manifest lies beside it, so that an artifact can be walked back to the base model.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from alignment.locations import INSTALLATION, displayed
from alignment.refusal import Refusal

MANIFEST = "manifest.json"
_READ_BYTES = 1 << 20
_PACKAGES = ("torch", "transformers", "tokenizers", "peft", "trl", "datasets", "bitsandbytes", "unsloth", "vllm")
_WEIGHTS = (".safetensors", ".bin")
_MODEL_FILES = (*_WEIGHTS, "config.json", "tokenizer.json")


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file as a manifest names it."""

    path: str  # relative to the workspace, or to the installation's root
    sha256: str
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of an artifact's making."""

    kind: str  # baseline | generate | train | evaluate | pretrain
    run_id: str
    stage: int | None
    inputs: tuple[FileRecord, ...]
    outputs: tuple[FileRecord, ...]
    config: Mapping[str, Any]  # the resolved configuration, each value with its origin
    seed: int
    base_model: str
    base_model_sha256: str
    constitution_sha256: str | None
    device: str
    started: str
    finished: str
    versions: Mapping[str, str]
    commit: str
    facts: Mapping[str, Any] = field(default_factory=dict)  # what only this kind knows: figures, the verdict, hashes


def sha256_of_file(path: Path) -> str:
    """Hashes a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def sha256_of_text(text: str) -> str:
    """Hashes a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_of_model(folder: Path) -> str:
    """Hashes what makes a model or an adapter: the names and contents of weights, configuration and tokenizer.

    Files are read at the same time: one thread would need most of a minute for a large model's.
    """
    digest = hashlib.sha256()
    paths = [path for path in sorted(folder.iterdir()) if path.name.endswith(_MODEL_FILES)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, sha256 in zip(paths, pool.map(sha256_of_file, paths), strict=True):
            digest.update(f"{path.name} {sha256}\n".encode())
    return digest.hexdigest()


def row_id(*parts: object) -> str:
    """Derives a row's id from what makes the row, so that a repeated run gives the same ids."""
    return sha256_of_text(json.dumps(parts, ensure_ascii=False))[:16]


def record(path: Path, workspace: Path) -> FileRecord:
    """Describes a file for a manifest; a JSONL file with its number of rows."""
    rows = None
    if path.suffix == ".jsonl":
        with open(path, "rb") as stream:
            rows = sum(1 for _ in stream)
    return FileRecord(displayed(path, workspace), sha256_of_file(path), rows)


def now() -> str:
    """Tells the time as manifests write it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Lists the versions of Python and of the libraries that can change a result, without importing them."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit(root: Path = INSTALLATION) -> str:
    """Names the code's git commit, with "+changes" where tracked files differ from it, or "unknown" outside git."""
    try:
        head = _git(root, "rev-parse", "HEAD")
        return head + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", os.fspath(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.strip()


def replace_file(path: Path, text: str) -> None:
    """Replaces a file's content so that after a crash either the old or the new one is there, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replaces a JSONL file."""
    replace_file(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_manifest(folder: Path, manifest: Manifest) -> Path:
    """Writes a folder's manifest, which says that the folder is complete."""
    path = folder / MANIFEST
    replace_file(path, json.dumps(asdict(manifest), indent=1, ensure_ascii=False) + "\n")
    return path


def read_manifest(folder: Path) -> Manifest:
    """Reads a folder's manifest.

    Raises:
        Refusal: there is none, or it is not one.
    """
    path = folder / MANIFEST
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        files = {key: tuple(FileRecord(**entry) for entry in raw[key]) for key in ("inputs", "outputs")}
        return Manifest(**{**raw, **files})
    except FileNotFoundError as error:
        raise Refusal(
            f"{path}: there is no manifest, so this folder is not complete", "run the task that makes it again"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise Refusal(f"{path}: not a manifest: {error}", "run the task that makes this folder again") from error


def verify_outputs(manifest: Manifest, workspace: Path) -> None:
    """Checks that a complete folder still holds what its manifest says.

    Raises:
        Refusal: a file is gone or has changed; all such files are named.
    """
    faults = []
    for entry in manifest.outputs:
        path = workspace / entry.path
        if not path.exists():
            faults.append(f"{entry.path}: gone since the run that made it")
        elif (seen := sha256_of_file(path)) != entry.sha256:
            faults.append(f"{entry.path}: sha256 is {seen}, its manifest says {entry.sha256}")
    if faults:
        raise Refusal("; ".join(faults), "restore the files, or run the task that makes them again")
