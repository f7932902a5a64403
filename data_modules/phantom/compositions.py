"""Questions whose answers are composed: finding, size, side and zone in one answer.

Few words make many answers, some of them rare, and some are never answers of training: a network
that knows each answer as a whole cannot give those. They are asked about the frontal image, where
it decides every word.
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
ONE_IN = 6  # one of so many answers is no answer of training
REPEATS = 2  # times that an image is asked, in different words

# Words that other questions and reports of the data set hold as well, so that a tokenizer made for
# those knows them.
WORDINGS = (
    "What abnormality is seen, how large and where?",
    "What is the main finding, and in which zone of which lung?",
    "Which abnormality does this radiograph show, and on which side?",
    "What is abnormal in this image, how large and in which lung?",
)


def describe(findings: Iterable[Finding]) -> str:
    """Findings as a composed answer, such as ``small left upper mass``; empty without any."""
    return " and ".join(_phrase(finding) for finding in findings)


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
    """What the frontal image decides; None for a normal study, or where it leaves a word open."""
    if not placed or not all(map(_decided, placed)):
        return None
    return Candidate(study, VIEW, SEEN, "", describe(item.finding for item in placed))


def _decided(item: Placed) -> bool:
    finding = item.finding
    needed = [item.shown]
    needed += [item.sided] if finding.side else []
    needed += [item.zoned] if finding.zone else []
    needed += [item.sized] if finding.size else []
    needed += [item.counted] if finding.count > 1 else []
    return all(VIEW in views for views in needed)


def held_out(rng: np.random.Generator) -> frozenset[str]:
    """Draw the answers that training never gives; each of their words is in others that it does."""
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
    """The questions of a split.

    Args:
        rng: Draws the wordings, evenly whatever the answer.
        found: What the images of the split decide, see :func:`composition`.
        unseen: See :func:`held_out`; their questions are of a type of their own.
        train: Whether it is the training split, which never asks for those.
    """
    asked: list[Question] = []
    for one in found:
        drawn = rng.permutation(len(WORDINGS))[:REPEATS]  # drawn for all, so that none shifts
        if one.answer in unseen:
            if train:
                continue
            one = replace(one, question_type=UNSEEN)
        asked += [Question(one, WORDINGS[int(i)]) for i in sorted(drawn)]
    return asked
