"""TensorBoard images of pre-training: similarities, transport plans, hard negatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer
from torch import Tensor

from amif_lightning.batch import StudyBatch
from amif_lightning.callbacks.image_figures import (
    GREY,
    INK,
    WRONG,
    Card,
    HeatMap,
    cards_figure,
    maps_figure,
    matrices_figure,
)
from amif_lightning.callbacks.validation_images import ValidationImages, array
from amif_lightning.losses.alignment import Sides, same_sample, soft_labels
from amif_lightning.models.eval_mode import evaluation_mode
from amif_lightning.models.words import Word, informative, words_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PLANS = (
    "The transport plan of words: where each is sent. An outlined region: the finding that the "
    "word names."
)
_HARDEST = (
    "The hardest negatives: the texts drawn for images with the highest cosine to their image."
)


class AlignmentImages(ValidationImages):
    """Shows figures of the first validation batch after each validation.

    ``alignment/similarity``: the student's similarities of images and reports, and the teacher's
    labels. ``transport/plans``: transport plans of words, with the tokens of the run's loss.
    ``negatives/hardest``: the drawn texts nearest to their image, if the task mines negatives.

    Args:
        samples: Maximum number of studies compared, 1 or more, as all arguments.
        studies: Number of studies with transport plans.
        words: Words shown of each report: the longest different ones.
        negatives: Number of drawn texts.
        side: Side of each image in pixels.
    """

    def __init__(
        self,
        samples: int = 32,
        studies: int = 4,
        words: int = 3,
        negatives: int = 6,
        side: int = 224,
    ) -> None:
        super().__init__(
            samples=samples, studies=studies, words=words, negatives=negatives, side=side
        )
        self.samples, self.studies, self.words = samples, studies, words
        self.negatives, self.side = negatives, side

    def keep(self, batch: Any, outputs: Any) -> None:
        """Keep the first batch of studies."""
        if isinstance(batch, StudyBatch) and not self._kept:
            self._kept.append(first_studies(batch, self.samples))

    def figures(self, task: Any, kept: list[Any]) -> dict[str, Figure]:
        """Draw the available figures, by tag; ``kept`` is one batch of studies on the device."""
        (batch,) = kept
        with evaluation_mode(task):
            tokens, states = task.vision(batch.first), task.text(batch.text.ids, batch.text.mask)
            image, text = task.embed_image(tokens), task.embed_text(states)
            made = {
                "alignment/similarity": self._similarity(task, batch, image, text),
                "transport/plans": self._plans(task, batch, tokens, states),
                "negatives/hardest": self._hardest(task, batch, image, text),
            }
        return {tag: figure for tag, figure in made.items() if figure is not None}

    def _similarity(self, task: Any, batch: StudyBatch, image: Tensor, text: Tensor) -> Figure:
        groups = batch.relevance.tolist()
        order = neighbours(groups)
        same = same_sample(batch.study, batch.text_id)
        teacher = batch.teacher
        if teacher is None:
            labels, labels_are = same.float(), "Identity: the same study or the same text"
        else:
            weight = task.alignment.same_weight
            labels = soft_labels(teacher.first, teacher.text, teacher.scale, same, weight)
            labels_are = "Teacher: soft labels of a row"
        shares = {labels_are: labels}
        if "image_text" in task.alignment.pairs:
            logits = task.alignment.pairs["image_text"].logits(image, text)
            shares = {"Student: softmax over the texts of a row": logits.softmax(1), **shares}
        cosines = array(image @ text.T)[order][:, order]
        # One scale for both distributions, so that equal colours are equal numbers.
        maximum = max(float(values.max()) for values in shares.values())
        panels = [("Student: cosine of image and text", cosines, (cosines.min(), cosines.max()))]
        panels += [
            (title, array(values)[order][:, order], (0.0, maximum))
            for title, values in shares.items()
        ]
        return matrices_figure(panels, [groups[place] for place in order], 3 * self.side // 2)

    def _plans(self, task: Any, batch: StudyBatch, tokens: Tensor, states: Tensor) -> Figure | None:
        tokenizer = Tokenizer.from_str(task.tokenizer)
        local = task.local_tokens(batch.text, states, tokens)
        plan, _ = local.plan(task.transport)
        named = [
            {} if task.pairs is None else task.pairs.named(study, image)
            for study, image in zip(batch.study_ids, batch.first_ids, strict=True)
        ]
        centres = task.vision.patch_centres
        studies: list[tuple[Any, str, list[HeatMap]]] = []
        groups = batch.relevance.tolist()
        # Prefer studies with known regions, then the first study of every group of findings.
        for row in sorted(
            range(len(groups)), key=lambda row: (not named[row], groups.index(groups[row]) != row)
        ):
            words = words_of(batch.text.ids[row], batch.text.mask[row], tokenizer)
            moved = [word for word in words if bool(local.mask[row, list(word.places)].all())]
            maps = [
                HeatMap(
                    word.text,
                    array(plan[row, list(word.places)].sum(0)),
                    centres,
                    named[row].get(word.text.lower()),
                )
                for word in _telling(moved, named[row], self.words)
            ]
            if maps and len(studies) < self.studies:
                studies.append((array(batch.first[row]), batch.texts[row], maps))
        return maps_figure(studies, self.side, _PLANS) if studies else None

    def _hardest(self, task: Any, batch: StudyBatch, image: Tensor, text: Tensor) -> Figure | None:
        given = batch.teacher
        if not task.weights["matching"] or (given is None and task.alignment.kind == "soft"):
            return None  # soft labels need a teacher
        teacher = None if given is None else Sides(given.first, given.second, given.text)
        same = same_sample(batch.study, batch.text_id)
        # Only images and texts draw from each other; view 2 is unused.
        sides, scale = Sides(image, image, text), 0.0 if given is None else given.scale
        negatives = task.draw(task.hard_weights(sides, same, teacher, scale))
        texts, valid = negatives.texts, negatives.valid[0]
        cosines = array(image @ text.T)
        # With several processes, the draw covers this process's share.
        drawn = [(row, int(texts[row])) for row in range(len(texts)) if valid[row]]
        drawn.sort(key=lambda pair: -cosines[pair])
        cards: list[Card] = []
        for row, other in drawn[: self.negatives]:
            lines = (
                (f"own text, cosine {cosines[row, row]:.2f}", 1, GREY),
                (batch.texts[row], 6, INK),
                (f"drawn text, cosine {cosines[row, other]:.2f}", 1, GREY),
                (batch.texts[other], 6, WRONG),
            )
            cards += [Card(image=array(batch.first[row])), Card(lines, columns=2)]
        rows = [cards[at : at + 4] for at in range(0, len(cards), 4)]
        return cards_figure(rows, self.side, _HARDEST) if rows else None


def first_studies(value: Any, max_count: int) -> Any:
    """Truncate every tensor and list of a batch."""
    if isinstance(value, Tensor | list):
        return value[:max_count]
    if is_dataclass(value) and not isinstance(value, type):
        names = [part.name for part in fields(value)]
        return replace(value, **{n: first_studies(getattr(value, n), max_count) for n in names})
    return value  # the teacher's scale, or no teacher


def neighbours(groups: Sequence[int]) -> list[int]:
    """Sort positions by the first position of their group, so that equal groups are adjacent."""
    return sorted(range(len(groups)), key=lambda place: (groups.index(groups[place]), place))


def _telling(words: list[Word], named: Mapping[str, Any], max_count: int) -> list[Word]:
    """Choose the words to show: those that name a finding, then the longest others."""
    first = {word.text.lower(): word for word in reversed(words) if word.text.lower() in named}
    longest = [word for word in informative(words, max_count) if word.text.lower() not in first]
    return ([*first.values()][::-1] + longest)[:max_count]
