"""Questions with composed answers: finding, size, side and zone in one answer.

A few words form many answers. Some are rare and some never occur in training; a classifier over
training answers cannot give the latter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from data_modules.phantom.questions import Candidate, Question, QuestionType
from data_modules.phantom.simulator.findings import COUNTS, PROFILES, Finding
from data_modules.phantom.simulator.geometry import View
from data_modules.phantom.simulator.lesions import Placed

VIEW: View = "frontal"
SEEN: QuestionType = "composition"
UNSEEN: QuestionType = "composition_unseen"
ONE_IN = 6  # one in this many answers is held out from training
REPEATS = 2  # questions per image, in different words

# All words also occur in other questions or reports, so a tokenizer built from those knows them.
WORDINGS = (
    "What abnormality is seen, how large and where?",
    "What is the main finding, and in which zone of which lung?",
    "Which abnormality does this radiograph show, and on which side?",
    "What is abnormal in this image, how large and in which lung?",
)


def describe(findings: Iterable[Finding]) -> str:
    """Compose the answer, such as ``small left upper mass``; empty without findings."""
    return " and ".join(map(_phrase, findings))


def _phrase(finding: Finding) -> str:
    several = finding.count > 1
    words = (
        COUNTS[finding.count - 1] if several else "",
        finding.size,
        "bilateral" if finding.side == "both" else finding.side,
        finding.zone,
        finding.kind + ("s" if several else ""),
    )
    return " ".join(word for word in words if word)


def composition(study: int, placed: Sequence[Placed]) -> Candidate | None:
    """Return the question; None if normal or if the frontal image leaves a word undecided."""
    if not placed or not all(item.finding.aspects <= item.decided[VIEW] for item in placed):
        return None
    return Candidate(study, VIEW, SEEN, "", describe(item.finding for item in placed))


def held_out(rng: np.random.Generator) -> frozenset[str]:
    """Draw the answers to hold out from training; training answers contain all of their words."""
    answers = sorted({describe(profile.findings) for profile in PROFILES if profile.findings})
    words = Counter(word for answer in answers for word in set(answer.split()))
    chosen: list[str] = []
    for place in rng.permutation(len(answers)):
        own = set(answers[place].split())
        if len(chosen) < len(answers) // ONE_IN and all(words[word] > 1 for word in own):
            words.subtract(own)
            chosen.append(answers[place])
    return frozenset(chosen)


def ask(
    rng: np.random.Generator, found: Iterable[Candidate], unseen: frozenset[str], *, train: bool
) -> list[Question]:
    """Choose wordings; omit ``unseen`` answers in training, mark them by type in other splits."""
    asked: list[Question] = []
    for one in found:
        # Drawn for omitted answers too, so that wordings do not depend on the held-out answers.
        drawn = rng.permutation(len(WORDINGS))[:REPEATS]
        if one.answer in unseen:
            if train:
                continue
            one = replace(one, question_type=UNSEEN)
        asked += [Question(one, WORDINGS[int(i)]) for i in sorted(drawn)]
    return asked
