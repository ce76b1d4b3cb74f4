"""A profile: the settings of one way of running, resolved from defaults, profiles/<name>.yaml and the task.

Each resolved value knows its origin: default, profile or task. A task's parameter overrides the setting of the same
name in the section of the task's kind: `params: {items: 60}` of a baseline sets `baseline.items`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from alignment.locations import displayed, locate
from alignment.refusal import Refusal
from alignment.settings import (
    BaselineSettings,
    CurriculumSettings,
    EngineSettings,
    EvaluateSettings,
    GenerateSettings,
    ModelSettings,
    PlanSettings,
    TrainSettings,
)
from alignment.strict import read, read_yaml


@dataclass(frozen=True, slots=True)
class Profile:
    """The resolved settings."""

    name: str
    seed: int
    curriculum: CurriculumSettings
    model: ModelSettings
    engine: EngineSettings
    plan: PlanSettings
    baseline: BaselineSettings
    generate: GenerateSettings
    train: TrainSettings
    evaluate: EvaluateSettings
    origins: Mapping[str, str]  # "section.key" -> default | profile | task

    def resolved(self) -> dict[str, dict[str, Any]]:
        """Lists every value with its origin, as manifests keep it."""
        return {key: {"value": self._value(key), "origin": origin} for key, origin in self.origins.items()}

    def describe(self) -> str:
        """Prints every value with its origin, one a line."""
        lines = [f"{key} = {self._value(key)!r}  ({origin})" for key, origin in self.origins.items()]
        return "\n".join([f"profile {self.name}, seed {self.seed}", *lines])

    def _value(self, key: str) -> Any:
        section, name = key.split(".")
        return getattr(getattr(self, section), name)


def load_profile(name: str, workspace: Path, *, kind: str = "", params: Mapping[str, Any] | None = None) -> Profile:
    """Resolves a profile.

    Args:
        kind: the task's kind, whose section the parameters override.
        params: the task's parameters; None stands for "not set".

    Raises:
        Refusal: the profile is missing or faulty; all faults are named.
    """
    path = locate(Path("profiles") / f"{name}.yaml", workspace)
    if path is None:
        raise Refusal(f"profiles/{name}.yaml: there is no such profile", "name one that lies in profiles/")
    raw = read_yaml(path)
    sections: dict[str, type[Any]] = {
        "curriculum": CurriculumSettings,
        "model": ModelSettings,
        "engine": EngineSettings,
        "plan": PlanSettings,
        "baseline": BaselineSettings,
        "generate": GenerateSettings,
        "train": TrainSettings,
        "evaluate": EvaluateSettings,
    }
    where = displayed(path, workspace)
    faults: list[str] = []
    if not isinstance(raw, Mapping):
        raise Refusal(f"{where}: expected a mapping of sections, got {raw!r}", "mend the file")
    faults += [
        f"{where}: {key}: unknown section; there are {', '.join(sections)}" for key in raw if key not in sections
    ]
    given = {key: value for key, value in (params or {}).items() if value is not None}
    resolved, origins = {}, {}
    for section, settings in sections.items():
        names = [f.name for f in fields(settings)]
        in_task = {key: value for key, value in given.items() if section == kind and key in names}
        base = read(settings, raw.get(section), f"{where}: {section}", faults)
        task = read(settings, in_task, "params", faults)
        resolved[section] = replace(base, **{key: getattr(task, key) for key in in_task})
        for key in names:
            in_profile = isinstance(raw.get(section), Mapping) and raw[section].get(key) is not None
            origins[f"{section}.{key}"] = "task" if key in in_task else "profile" if in_profile else "default"
    if faults:
        raise Refusal("; ".join(faults), "mend the profile or the task's params")
    return Profile(name=name, seed=int(given.get("seed", 0)), **resolved, origins=origins)
