"""Questions that an image decides, in equal shares of types and with balanced answers.

Answers are balanced inside each cell, a cell being a question type, its topic (the finding that is
asked for) and the view; wordings are dealt out evenly to each answer of a cell. So the wording of a
question says nothing about its answer beyond the list of possible answers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from data_modules.phantom.simulator.findings import COUNTS, KINDS, NONE, Finding
from data_modules.phantom.simulator.geometry import VIEWS, View
from data_modules.phantom.simulator.lesions import Placed

ChosenType = Literal["plane", "presence", "side", "zone", "size", "count", "abnormality"]
QUESTION_TYPES: tuple[ChosenType, ...] = get_args(ChosenType)
# Those with a composed answer are asked by compositions.py.
QuestionType = ChosenType | Literal["composition", "composition_unseen"]
PER_STUDY = 1.25  # questions of each type per study, where the studies allow as many
REPEATS = 2  # times that an image may be asked for the same thing, in different words

_NAMES: dict[str, str] = {
    "nodule": "nodule",
    "mass": "mass",
    "effusion": "pleural effusion",
    "consolidation": "consolidation",
    "pneumothorax": "pneumothorax",
    "cardiomegaly": "cardiomegaly",
}
ANY = "abnormality"  # the topic of a question that names no finding
NODULES, KINDS_SEEN = "nodules", "kinds of abnormality"

_WORDINGS: dict[QuestionType, tuple[str, ...]] = {
    "plane": (
        "Which view is this?",
        "Is this a frontal or a lateral radiograph?",
        "In which plane was this image taken?",
        "What projection is shown?",
        "What is the view of this chest radiograph?",
    ),
    "presence": (
        "Is there {a}{name} in this image?",
        "Does this image show {a}{name}?",
        "Is {a}{name} present?",
        "Can {a}{name} be seen here?",
        "Does the patient have {a}{name}?",
    ),
    "side": (
        "On which side is the {name}?",
        "Which side of the patient shows the {name}?",
        "Where is the {name}, left or right?",
        "Is the {name} on the left or on the right?",
        "Which lung is affected by the {name}?",
    ),
    "zone": (
        "In which zone is the {name}?",
        "Which zone of the lung shows the {name}?",
        "What lung zone holds the {name}?",
        "Is the {name} in the upper, middle or lower zone?",
    ),
    "size": (
        "How large is the {name}?",
        "What is the size of the {name}?",
        "Is the {name} small or large?",
        "How big does the {name} appear?",
    ),
    "count": (
        "How many {name} are there?",
        "How many {name} can be seen?",
        "What is the number of {name}?",
        "Count the {name} in this image.",
    ),
    "abnormality": (
        "What abnormality is seen in this image?",
        "What is the main finding?",
        "Which abnormality does this radiograph show?",
        "What is wrong with this patient?",
        "What is abnormal in this image?",
    ),
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A question that one image decides.

    Attributes:
        study: Index of the study within its split.
        view: The image.
        question_type: One of the seven types, or of those with a composed answer.
        topic: What is asked for; questions with equal type and topic share their wordings.
        answer: The answer.
    """

    study: int
    view: View
    question_type: QuestionType
    topic: str
    answer: str


@dataclass(frozen=True, slots=True)
class Question:
    """A candidate that was chosen, in words."""

    candidate: Candidate
    text: str


def wordings(question_type: QuestionType, topic: str) -> tuple[str, ...]:
    """Return the wordings of a type and topic."""
    name = _NAMES.get(topic, topic)
    article = "" if topic in ("consolidation", "cardiomegaly") else "a "
    return tuple(text.format(name=name, a=article) for text in _WORDINGS[question_type])


def candidates(study: int, placed: Sequence[Placed]) -> list[Candidate]:
    """List what each image of a study decides.

    A finding that an image does not show is neither affirmed nor denied there; a finding that the
    study does not have is denied on both views.
    """
    found: list[Candidate] = []
    for view in VIEWS:
        ask = _Ask(study, view, found)
        ask("plane", "", view)
        kinds = {item.finding.kind for item in placed}
        for kind in KINDS:
            if kind not in kinds:
                ask("presence", kind, "no")
        for item in placed:
            _ask_about(item, view, ask)
        if all(view in item.shown for item in placed):
            ask("count", KINDS_SEEN, COUNTS[len(kinds) - 1] if kinds else NONE)
            if len(kinds) <= 1:
                ask("abnormality", "", placed[0].finding.kind if placed else NONE)
            if len(placed) == 1:
                _ask_without_name(placed[0], view, ask)
    return found


@dataclass(frozen=True, slots=True)
class _Ask:
    """Records candidates of one image."""

    study: int
    view: View
    found: list[Candidate]

    def __call__(self, question_type: QuestionType, topic: str, answer: str) -> None:
        self.found.append(Candidate(self.study, self.view, question_type, topic, answer))


def _zone(finding: Finding) -> str:
    return f"{finding.zone} zone"


def _ask_about(item: Placed, view: View, ask: _Ask) -> None:
    """Record what an image decides about one finding, by its name."""
    finding = item.finding
    if view in item.shown:
        ask("presence", finding.kind, "yes")
    if view == "frontal" and finding.side and view in item.sided:
        ask("side", finding.kind, finding.side)
    if view in item.zoned:
        ask("zone", finding.kind, _zone(finding))
    if view in item.sized:
        ask("size", finding.kind, finding.size)
    if view in item.counted:
        ask("count", NODULES, COUNTS[finding.count - 1])


def _ask_without_name(item: Placed, view: View, ask: _Ask) -> None:
    """Record what an image decides about a study's only finding without naming it."""
    finding = item.finding
    if view == "frontal" and finding.side and view in item.sided:
        ask("side", ANY, finding.side)
    if view in item.zoned:
        ask("zone", ANY, _zone(finding))


Cell = tuple[QuestionType, str, View | Literal[""]]


def choose(rng: np.random.Generator, found: Iterable[Candidate], studies: int) -> list[Question]:
    """Choose the questions of a split from all candidates.

    Every type gets the same number, up to the rounding that whole rounds of answers need.
    """
    cells: dict[Cell, dict[str, list[Candidate]]] = defaultdict(lambda: defaultdict(list))
    for candidate in found:
        view: View | Literal[""] = "" if candidate.question_type == "plane" else candidate.view
        cell = (candidate.question_type, candidate.topic, view)
        cells[cell][candidate.answer].append(candidate)
    # A cell with a single answer would give it away.
    usable = {cell: answers for cell, answers in cells.items() if len(answers) > 1}
    rounds = {
        cell: REPEATS * min(len(members) for members in answers.values())
        for cell, answers in usable.items()
    }
    totals = {
        kind: sum(n * len(usable[cell]) for cell, n in rounds.items() if cell[0] == kind)
        for kind in QUESTION_TYPES
    }
    target = min(int(PER_STUDY * studies), *totals.values())
    chosen: list[Question] = []
    for kind in QUESTION_TYPES:
        mine = {cell: n for cell, n in rounds.items() if cell[0] == kind}
        sizes = {cell: len(usable[cell]) for cell in mine}
        for cell, n in _share(mine, sizes, target).items():
            chosen.extend(_deal(rng, cell, usable[cell], n))
    order: dict[QuestionType, int] = {kind: i for i, kind in enumerate(QUESTION_TYPES)}
    chosen.sort(
        key=lambda q: (
            q.candidate.study,
            VIEWS.index(q.candidate.view),
            order[q.candidate.question_type],
            q.text,
        )
    )
    return chosen


def _share(rounds: Mapping[Cell, int], sizes: Mapping[Cell, int], target: int) -> dict[Cell, int]:
    """Cut the rounds of answers of each cell in proportion, so that they give ``target``."""
    total = sum(rounds[cell] * sizes[cell] for cell in rounds)
    if total == 0:
        return {}
    share = {cell: rounds[cell] * target // total for cell in rounds}
    left = target - sum(share[cell] * sizes[cell] for cell in share)
    # Largest remainders first; ties by name, so that nothing depends on the order of a dict.
    ranked = sorted(rounds, key=lambda cell: (-(rounds[cell] * target % total), cell))
    for cell in ranked:
        if share[cell] < rounds[cell] and sizes[cell] <= left:
            share[cell] += 1
            left -= sizes[cell]
    return share


def _deal(
    rng: np.random.Generator, cell: Cell, answers: Mapping[str, Sequence[Candidate]], rounds: int
) -> list[Question]:
    """Draw ``rounds`` questions per answer and deal the wordings out evenly.

    Every answer begins with the same wording, so each wording is used equally often with each.
    """
    texts = wordings(cell[0], cell[1])
    start = int(rng.integers(len(texts)))
    dealt: list[Question] = []
    for answer in sorted(answers):
        members = answers[answer]
        drawn: list[Candidate] = []
        while len(drawn) < rounds:
            drawn.extend(members[int(i)] for i in rng.permutation(len(members)))
        used: set[tuple[Candidate, str]] = set()
        for position, candidate in enumerate(drawn[:rounds]):
            offset = start + position
            while (candidate, texts[offset % len(texts)]) in used:
                offset += 1
            text = texts[offset % len(texts)]
            used.add((candidate, text))
            dealt.append(Question(candidate, text))
    return dealt
