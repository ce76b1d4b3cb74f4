"""A stage of a curriculum, read strictly from curricula/<world>/stage<k>/.

Owns the shape of stage.yaml, evaluation.jsonl, exemplars.jsonl, gold.jsonl and critiques.jsonl. Verifiers are carried
as data: what they mean is the scorers' business, and code that makes training data must never meet it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from alignment.locations import displayed, locate
from alignment.provenance import sha256_of_file
from alignment.refusal import Refusal
from alignment.strict import read, read_yaml, setting

T = TypeVar("T")
_INSTRUCTION, _RESPONSE = "{instruction}", "{response}"


@dataclass(frozen=True, slots=True)
class Item:
    """One held-out evaluation item."""

    id: str
    type: str
    instruction: str
    reference: str  # one known-good answer
    verifier: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One row of the human-written seed set."""

    instruction: str
    response: str
    topic: str


@dataclass(frozen=True, slots=True)
class GoldAnswer:
    """One answer of known quality, which calibrates a critic and is never trained on."""

    instruction: str
    response: str
    good: bool
    fault: str


@dataclass(frozen=True, slots=True)
class Critique:
    """One draft that breaks a principle, with what is wrong and the better answer, written by hand."""

    instruction: str
    draft: str
    principle: str  # its id
    critique: str
    revision: str


@dataclass(frozen=True, slots=True)
class Stops:
    """The strings that end an answer, arm by arm; none means that only the end-of-sequence token does."""

    raw: tuple[str, ...] = setting((), "raw arm")
    cue: tuple[str, ...] = setting(("\n",), "cue arm")
    few_shot: tuple[str, ...] = setting(("\n",), "few-shot arm, and the answers that generate draws")


@dataclass(frozen=True, slots=True)
class Generation:
    """How new instructions are asked for."""

    list_header: str = setting("Here is a list of instructions about {topic}:", "the line above a list of exemplars")
    topics: tuple[str, ...] = setting((), "the topics that steer the lists", required=True)
    min_words: int = setting(4, "shortest instruction kept", minimum=1)
    max_words: int = setting(150, "longest instruction kept (Self-Instruct, arXiv 2212.10560)", minimum=1)
    exemplars_per_prompt: int = setting(6, "human-written exemplars in a list (Self-Instruct)", minimum=1)
    response_exemplars: int = setting(4, "exemplars before an instruction when an answer is drawn", minimum=1)


@dataclass(frozen=True, slots=True)
class Judge:
    """How the model is asked whether an answer is good."""

    template: str = setting(
        "", "one judgement up to its label, with {instruction}, {response} and {question}", required=True
    )
    questions: Mapping[str, str] = setting({}, "ab: the first label means good; ba: the second does", required=True)
    labels: tuple[str, ...] = setting((" A", " B"), "the two labels; each must be one token")
    exemplars: int = setting(2, "judged exemplars in front", minimum=0)


@dataclass(frozen=True, slots=True)
class Revision:
    """How the model criticises its own answers by the constitution and writes them anew.

    Source: Constitutional AI (arXiv 2212.08073, section 3.1). Departure: what is revised is what the critic finds to
    break a principle, and a revision that the critic does not prefer is dropped.
    """

    critique_template: str = setting(
        "Instruction: {instruction}\nDraft: {draft}\n{question}\nCritique:",
        "up to the critique; {question} is the principle's own",
    )
    revision_template: str = setting(
        "\n{demand}\nRevision:", "between critique and revision; {demand} is the principle's own"
    )
    exemplars: int = setting(3, "criticised drafts in front, of the same principle where there are enough", minimum=1)
    rounds: int = setting(2, "most revisions of one answer, each by another principle that it breaks", minimum=1)
    least_edit: float = setting(0.05, "share of the text that a revision must change", minimum=0, maximum=1)
    least_length: float = setting(0.67, "least characters of a revision for each of the draft", minimum=0)
    most_length: float = setting(1.5, "most characters of a revision for each of the draft", minimum=0)
    meta_text: tuple[str, ...] = setting(
        ("draft", "revision", "critique"), "words, in any case, that speak of the revising instead of doing it"
    )


@dataclass(frozen=True, slots=True)
class Deduplication:
    """When two instructions count as the same."""

    permutations: int = setting(128, "MinHash permutations", minimum=16)
    jaccard: float = setting(
        0.8, "MinHash similarity of word shingles from which a row is a duplicate", minimum=0, maximum=1
    )
    shingle_words: int = setting(3, "words of a shingle", minimum=1)
    rouge_l: float = setting(
        0.7, "ROUGE-L from which a row is a duplicate (Self-Instruct); above 1 switches it off", minimum=0
    )


@dataclass(frozen=True, slots=True)
class Decontamination:
    """When a training row counts as leaking an evaluation item; an exact match always does."""

    ngram: int = setting(8, "words of the n-grams that are compared (Tülu 3, arXiv 2411.15124)", minimum=2)
    ngram_share: float = setting(0.5, "share of an item's n-grams from which a row leaks it", minimum=0, maximum=1)
    long_ngram: int = setting(13, "a single common n-gram of this many words leaks a long item", minimum=2)
    rouge_l: float = setting(
        0.7, "ROUGE-L from which a row leaks an item of fewer than `ngram` words; above 1: off", minimum=0
    )
    answer_words: int = setting(
        4, "words of an item's reference from which a row with the same answer leaks it; 0: off", minimum=0
    )
    form_share: float = setting(
        0.2,
        "share of a type's items from which the reference that they have in common is a form, such as a refusal, and "
        "no fact that a row could leak",
        minimum=0,
        maximum=1,
    )


@dataclass(frozen=True, slots=True)
class _Frozen:
    file: str = setting("evaluation.jsonl", "the frozen items", required=True)
    sha256: str = setting("", "of that file", required=True)


@dataclass(frozen=True, slots=True)
class _StageFile:
    """The keys of stage.yaml."""

    stage: int = setting(0, "its number, from 1", required=True, minimum=1)
    name: str = setting("", "one word", required=True)
    capability: str = setting("", "what the model can do afterwards", required=True)
    description: str = setting("", "for people")
    raw_template: str = setting("{instruction}\n", "the format that the stage teaches")
    cue_template: str = setting("Instruction: {instruction}\nResponse:", "a plain cue")
    few_shot_template: str = setting("Instruction: {instruction}\nResponse: {response}\n\n", "one exemplar")
    stop: Mapping[str, Any] = setting({}, "see Stops")
    new_turn: tuple[str, ...] = setting(
        (), "strings whose appearance means that the model opened a new turn", required=True
    )
    max_new_tokens: int = setting(40, "the limit of an answer", minimum=1)
    gate: Mapping[str, Any] = setting({}, "what the trained model must reach, such as accuracy: 0.95", required=True)
    evaluation: Mapping[str, Any] = setting({}, "file and sha256", required=True)
    generation: Mapping[str, Any] = setting({}, "see Generation", required=True)
    judge: Mapping[str, Any] = setting({}, "see Judge", required=True)
    deduplication: Mapping[str, Any] = setting({}, "see Deduplication")
    decontamination: Mapping[str, Any] = setting({}, "see Decontamination")
    revision: Mapping[str, Any] = setting({}, "see Revision; with it answers are criticised and revised")


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage, whole."""

    folder: Path
    number: int
    name: str
    capability: str
    raw_template: str
    cue_template: str
    few_shot_template: str
    stop: Stops
    new_turn: tuple[str, ...]
    max_new_tokens: int
    gate: Mapping[str, float]
    generation: Generation
    judge: Judge
    deduplication: Deduplication
    decontamination: Decontamination
    evaluation_path: Path
    evaluation_sha256: str
    items: tuple[Item, ...]
    exemplars: tuple[Exemplar, ...]
    gold: tuple[GoldAnswer, ...]
    revision: Revision | None = None  # with it a stage's data is made by critique and revision
    critiques: tuple[Critique, ...] = ()


def stage_folder(world: str, number: int, workspace: Path) -> Path:
    """Finds a stage's folder.

    Raises:
        Refusal: the curriculum has no such stage.
    """
    folder = locate(Path("curricula") / world / f"stage{number}", workspace)
    if folder is None:
        raise Refusal(
            f"curricula/{world}/stage{number}: there is no such stage", "name a stage that the curriculum has"
        )
    return folder


def all_stages(world: str, workspace: Path) -> list[Stage]:
    """Loads every stage of a curriculum, as decontamination and regression legs need them."""
    first = stage_folder(world, 1, workspace)
    return [load_stage(folder, workspace) for folder in sorted(first.parent.glob("stage[0-9]*"))]


def load_stage(folder: Path, workspace: Path) -> Stage:
    """Reads a stage.

    Raises:
        Refusal: something in the folder is missing or faulty, or the frozen evaluation set has changed; all faults are
            named together.
    """
    where = displayed(folder, workspace)
    path = folder / "stage.yaml"
    if not path.exists():
        raise Refusal(f"{where}/stage.yaml: missing", "every stage of a curriculum has one")
    faults: list[str] = []
    name = f"{where}/stage.yaml"
    raw = read(_StageFile, read_yaml(path), name, faults)
    frozen = read(_Frozen, raw.evaluation, f"{name}: evaluation", faults)
    judge = read(Judge, raw.judge, f"{name}: judge", faults)
    faults += _template_faults(raw, judge, name)
    gate = {key: float(value) for key, value in raw.gate.items() if isinstance(value, int | float)}
    faults += [f"{name}: gate.{key}: expected a number, got {raw.gate[key]!r}" for key in raw.gate if key not in gate]
    evaluation = folder / frozen.file
    revision = read(Revision, raw.revision, f"{name}: revision", faults) if raw.revision else None
    faults += _revision_faults(revision, name) if revision else []
    stage = Stage(
        folder=folder,
        number=raw.stage,
        name=raw.name,
        capability=raw.capability,
        raw_template=raw.raw_template,
        cue_template=raw.cue_template,
        few_shot_template=raw.few_shot_template,
        stop=read(Stops, raw.stop, f"{name}: stop", faults),
        new_turn=raw.new_turn,
        max_new_tokens=raw.max_new_tokens,
        gate=gate,
        generation=read(Generation, raw.generation, f"{name}: generation", faults),
        judge=judge,
        deduplication=read(Deduplication, raw.deduplication, f"{name}: deduplication", faults),
        decontamination=read(Decontamination, raw.decontamination, f"{name}: decontamination", faults),
        evaluation_path=evaluation,
        evaluation_sha256=frozen.sha256,
        items=_rows(Item, evaluation, where, faults),
        exemplars=_rows(Exemplar, folder / "exemplars.jsonl", where, faults),
        gold=_rows(GoldAnswer, folder / "gold.jsonl", where, faults),
        revision=revision,
        critiques=_rows(Critique, folder / "critiques.jsonl", where, faults) if revision else (),
    )
    ids = [item.id for item in stage.items]
    faults += [f"{where}/{frozen.file}: id {i!r} stands twice" for i in sorted({i for i in ids if ids.count(i) > 1})]
    if faults:
        raise Refusal("; ".join(faults), "mend the curriculum")
    if (seen := sha256_of_file(evaluation)) != frozen.sha256:
        raise Refusal(
            f"{where}/{frozen.file}: the frozen evaluation set has changed: "
            f"its sha256 is {seen}, {name} says {frozen.sha256}",
            f"restore the frozen file; if the change is meant, write the new sha256 into {name} (evaluation.sha256) "
            "and run the stage's baseline again, for earlier figures no longer compare",
        )
    return stage


def _template_faults(raw: _StageFile, judge: Judge, name: str) -> list[str]:
    needs = {
        "raw_template": (raw.raw_template, (_INSTRUCTION,)),
        "cue_template": (raw.cue_template, (_INSTRUCTION,)),
        "few_shot_template": (raw.few_shot_template, (_INSTRUCTION, _RESPONSE)),
        "judge.template": (judge.template, (_INSTRUCTION, _RESPONSE, "{question}")),
    }
    faults = [
        f"{name}: {key}: {part} is missing in {template!r}"
        for key, (template, parts) in needs.items()
        for part in parts
        if part not in template
    ]
    if set(judge.questions) != {"ab", "ba"}:
        faults.append(f"{name}: judge.questions: expected ab and ba, got {', '.join(judge.questions) or 'none'}")
    if len(judge.labels) != 2:
        faults.append(f"{name}: judge.labels: expected two labels, got {list(judge.labels)!r}")
    return faults


def _revision_faults(revision: Revision, name: str) -> list[str]:
    parts = {
        "critique_template": (revision.critique_template, (_INSTRUCTION, "{draft}", "{question}")),
        "revision_template": (revision.revision_template, ("{demand}",)),
    }
    return [
        f"{name}: revision.{key}: {part} is missing in {template!r}"
        for key, (template, needed) in parts.items()
        for part in needed
        if part not in template
    ]


_TYPES: Mapping[str, type[Any]] = {"str": str, "bool": bool, "Mapping[str, Any]": dict}


def _rows(kind: type[T], path: Path, where: str, faults: list[str]) -> tuple[T, ...]:
    """Reads a JSONL file whose rows have exactly a dataclass's keys."""
    if not path.exists():
        faults.append(f"{where}/{path.name}: missing")
        return ()
    expected = {f.name: _TYPES[str(f.type)] for f in fields(kind)}  # type: ignore[arg-type]
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        at = f"{where}/{path.name}:{number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            faults.append(f"{at}: not JSON: {error}")
            continue
        if not isinstance(row, dict) or set(row) != set(expected):
            faults.append(f"{at}: expected the keys {', '.join(expected)}, got {line[:120]!r}")
        elif wrong := [key for key, type_ in expected.items() if not isinstance(row[key], type_)]:
            faults.append(f"{at}: {wrong[0]} is {row[wrong[0]]!r}")
        else:
            found.append(kind(**row))
    if not found:
        faults.append(f"{where}/{path.name}: no rows")
    return tuple(found)
