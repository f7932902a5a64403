"""Questions that one image answers, in equal shares of types and with balanced answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from data_modules.phantom.simulator.findings import COUNTS, KINDS, NONE
from data_modules.phantom.simulator.geometry import VIEWS, View
from data_modules.phantom.simulator.lesions import Placed

ChosenType = Literal["plane", "presence", "side", "zone", "size", "count", "abnormality"]
QUESTION_TYPES: tuple[ChosenType, ...] = get_args(ChosenType)
# Types with a composed answer: see compositions.py.
QuestionType = ChosenType | Literal["composition", "composition_unseen"]
PER_STUDY = 1.25  # questions of each type per study, if the studies allow it
REPEATS = 2  # most questions on the same topic of an image, in different words

ANY = "abnormality"  # topic of a question that names no finding
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
    """A question that one image answers."""

    study: int  # index within the split
    view: View
    question_type: QuestionType
    topic: str  # equal type and topic: equal wordings
    answer: str


@dataclass(frozen=True, slots=True)
class Question:
    """A chosen candidate with its wording."""

    candidate: Candidate
    text: str


def wordings(question_type: QuestionType, topic: str) -> tuple[str, ...]:
    """Return the wordings of a type and topic."""
    name = "pleural effusion" if topic == "effusion" else topic
    article = "" if topic in ("consolidation", "cardiomegaly") else "a "
    return tuple(text.format(name=name, a=article) for text in _WORDINGS[question_type])


def candidates(study: int, placed: Sequence[Placed]) -> list[Candidate]:
    """List the questions that each image of a study answers.

    For a finding of the study, presence is only asked on the views that show it. For a finding that
    the study does not have, the answer is no on both views.
    """
    found: list[Candidate] = []
    kinds = {item.finding.kind for item in placed}
    for view in VIEWS:
        asked: list[tuple[QuestionType, str, str]] = [("plane", "", view)]
        asked += [("presence", kind, "no") for kind in KINDS if kind not in kinds]
        for item in placed:
            asked += _about(item, view)
        if all(view in item.shown for item in placed):
            asked.append(("count", KINDS_SEEN, COUNTS[len(kinds) - 1] if kinds else NONE))
            if len(kinds) <= 1:
                asked.append(("abnormality", "", placed[0].finding.kind if placed else NONE))
            if len(placed) == 1:
                asked += _place(placed[0], view, ANY)
        found += [Candidate(study, view, *one) for one in asked]
    return found


def _about(item: Placed, view: View) -> list[tuple[QuestionType, str, str]]:
    """Return the questions that name a finding: type, topic and answer."""
    finding, decided = item.finding, item.decided[view]
    asked = _place(item, view, finding.kind)
    if "presence" in decided:
        asked.append(("presence", finding.kind, "yes"))
    if "size" in decided:
        asked.append(("size", finding.kind, finding.size))
    if "count" in decided:
        asked.append(("count", NODULES, COUNTS[finding.count - 1]))
    return asked


def _place(item: Placed, view: View, topic: str) -> list[tuple[QuestionType, str, str]]:
    """Return the questions about the side and zone of a finding."""
    finding, decided = item.finding, item.decided[view]
    asked: list[tuple[QuestionType, str, str]] = []
    if view == "frontal" and "side" in decided:
        asked.append(("side", topic, finding.side))
    if "zone" in decided:
        asked.append(("zone", topic, f"{finding.zone} zone"))
    return asked


Cell = tuple[QuestionType, str, View | Literal[""]]  # type, topic, view (empty for "plane")


def choose(rng: np.random.Generator, found: Iterable[Candidate], studies: int) -> list[Question]:
    """Choose a split's questions: equally many of each type, with balanced answers in each cell.

    A cell is a question type, its topic (the finding asked for) and the view. Each answer of a cell
    gets the same number of questions, so the numbers per type may differ by less than one round of
    answers. The wordings of a cell are distributed evenly over its answers, so a wording reveals
    only the list of possible answers.
    """
    cells: dict[Cell, dict[str, list[Candidate]]] = defaultdict(lambda: defaultdict(list))
    for candidate in found:
        view: View | Literal[""] = "" if candidate.question_type == "plane" else candidate.view
        cells[candidate.question_type, candidate.topic, view][candidate.answer].append(candidate)
    # A cell with one answer would reveal it.
    usable = {cell: answers for cell, answers in cells.items() if len(answers) > 1}
    rounds = {cell: REPEATS * min(map(len, answers.values())) for cell, answers in usable.items()}
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
    order: dict[str, int] = {name: i for i, name in enumerate((*VIEWS, *QUESTION_TYPES))}

    def place(question: Question) -> tuple[int, int, int, str]:
        asked = question.candidate
        return asked.study, order[asked.view], order[asked.question_type], question.text

    return sorted(chosen, key=place)


def _share(rounds: Mapping[Cell, int], sizes: Mapping[Cell, int], target: int) -> dict[Cell, int]:
    """Reduce the rounds of answers per cell in proportion, to at most ``target`` questions."""
    total = sum(rounds[cell] * sizes[cell] for cell in rounds)
    share = {cell: rounds[cell] * target // total for cell in rounds}
    left = target - sum(share[cell] * sizes[cell] for cell in share)
    # Largest remainders first; ties by name, independent of dict order.
    ranked = sorted(rounds, key=lambda cell: (-(rounds[cell] * target % total), cell))
    for cell in ranked:
        if share[cell] < rounds[cell] and sizes[cell] <= left:
            share[cell] += 1
            left -= sizes[cell]
    return share


def _deal(
    rng: np.random.Generator, cell: Cell, answers: Mapping[str, Sequence[Candidate]], rounds: int
) -> list[Question]:
    """Draw ``rounds`` questions per answer."""
    # All answers start with the same wording, so each wording is equally frequent for each answer.
    texts = wordings(cell[0], cell[1])
    start = int(rng.integers(len(texts)))
    dealt: list[Question] = []
    for answer in sorted(answers):
        members = answers[answer]
        drawn: list[Candidate] = []
        while len(drawn) < rounds:
            drawn.extend(members[int(i)] for i in rng.permutation(len(members)))
        used: set[Question] = set()
        for position, candidate in enumerate(drawn[:rounds], start):
            offset = position
            while (question := Question(candidate, texts[offset % len(texts)])) in used:
                offset += 1
            used.add(question)
            dealt.append(question)
    return dealt
