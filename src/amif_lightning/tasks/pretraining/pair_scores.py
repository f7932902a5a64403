"""Scores of single pairs (B studies of a batch, N of a split, L tokens, P patches, D width)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from amif_lightning.batch import StudyBatch, Tokens, pad_tokens
from amif_lightning.evaluation import FixedNegatives, Localised, PairScores, Region
from amif_lightning.metrics.auc import auc
from amif_lightning.metrics.gathered import GatheredRows, SplitFeatures
from amif_lightning.metrics.localisation import FoundRegion, found_regions, localised
from amif_lightning.models.words import words_of
from amif_lightning.tasks.local_tokens import LocalTokens

if TYPE_CHECKING:
    from amif_lightning.tasks.pretraining.local_alignment import LocalAlignmentTask

#: Number of nearest texts that matching re-ranks, and number of first places that count.
RERANKED, JUDGED = 20, 5
#: Highest number of images to re-rank, with twenty fused pairs each.
QUERIES = {"validation": 64, "test": 1000}
_CHUNK = 8  # lists per batch
_FINDINGS = 64  # more than on any image
_PAIRS = ("own", "random", "hard")


class PairEvaluation(nn.Module):
    """Collects the pair scores of one pass over a split, on any number of processes.

    ``data`` is the data module, with the fixed negatives and the regions. If ``matching`` is false,
    the run does not train matching and matching is not scored.
    """

    def __init__(self, data: Any, matching: bool) -> None:
        super().__init__()
        self._data, self._matching = data, matching
        scores = [f"matching_{name}" for name in _PAIRS] if matching else []
        self.rows = GatheredRows(["transport_own", "transport_random", "cosine", *scores])
        self.lists = GatheredRows(["reranked"])
        self.findings = GatheredRows(["kind", "area", "mass", "other", "shares"])
        self._negatives: dict[str, FixedNegatives] = {}
        self._names = data.region_words()
        self._kinds = list(self._names)
        self._queries: list[tuple[int, Tensor]] = []

    def update(
        self, task: LocalAlignmentTask, batch: StudyBatch, states: Tensor, image: Tensor, split: str
    ) -> None:
        """Score the pairs of a batch from the outputs of both encoders in evaluation mode."""
        negatives = self.negatives(split)
        places = batch.position.tolist()
        values: dict[str, Tensor] = {"position": batch.position}
        own = task.local_tokens(batch.text, states, image)
        values["transport_own"] = _without(own.moved(task.transport), ~own.mask.any(1))
        if self._matching:
            values["matching_own"] = self._odds(task, states, batch.text.mask, image)
        drawn = {"random": negatives.random} | ({"hard": negatives.hard} if self._matching else {})
        for name, chosen in drawn.items():
            if chosen is None:
                values[f"matching_{name}"] = torch.full_like(values["matching_own"], math.nan)
                continue
            missing = torch.tensor([chosen[place] < 0 for place in places], device=image.device)
            # A study without a negative is paired with itself for the shape and masked.
            others = [chosen[place] if chosen[place] >= 0 else place for place in places]
            text = self._texts(split, others, image)
            their = task.text(text.ids, text.mask)
            if self._matching:
                odds = self._odds(task, their, text.mask, image)
                values[f"matching_{name}"] = _without(odds, missing)
            if name == "random":
                pair = task.local_tokens(text, their, image)
                empty = missing | ~pair.mask.any(1)
                values["transport_random"] = _without(pair.moved(task.transport), empty)
                values["cosine"] = _without(mean_cosine(pair), empty)
        self.rows.update(**values)
        self._keep_queries(places, image, split)
        self._localise(task, batch, own)

    def compute(self, task: LocalAlignmentTask, features: SplitFeatures, split: str) -> PairScores:
        """Return the split's scores in the order of its gathered features, and reset the state."""
        reranked = self._rerank(task, features, split) if self._matching else None
        rows, found = self.rows.compute(), self.findings.compute()
        for metric in (self.rows, self.findings):
            metric.reset()
        places = (found["position"] // _FINDINGS).tolist()
        kinds = [self._kinds[kind] for kind in found["kind"].tolist()]
        parts = [found[name] for name in ("area", "mass", "other", "shares")]
        return PairScores(
            negatives=self.negatives(split),
            matching={n: rows[f"matching_{n}"] for n in _PAIRS} if self._matching else None,
            reranked=reranked,
            transport={name: rows[f"transport_{name}"] for name in ("own", "random")},
            cosine=rows["cosine"],
            localised=localised(places, kinds, *parts) if places else (),
        )

    def negatives(self, split: str) -> FixedNegatives:
        """Return the fixed negatives of a split, cached."""
        if split not in self._negatives:
            self._negatives[split] = self._data.fixed_negatives(split)
        return self._negatives[split]

    def named(self, study_id: str, image_id: str) -> dict[str, NDArray[np.bool_]]:
        """Return the regions on an image by the lower-case words that name their findings."""
        return {
            word: region.mask
            for region in self._data.regions(study_id, image_id)
            for word in sorted(self._names[region.kind])
        }

    def _texts(self, split: str, places: list[int], like: Tensor) -> Tokens:
        """Tokenise the texts at these places of the split, on the device of ``like``."""
        rows, data = self._data.rows(split), self._data
        ids = [data.tokenizer.encode(rows[place].text, data.max_text_tokens) for place in places]
        return pad_tokens(ids, data.tokenizer.pad_id).to(like.device)

    @staticmethod
    def _odds(
        task: LocalAlignmentTask,
        states: Tensor,
        mask: Tensor,
        image: Tensor,
        image_index: Tensor | None = None,
    ) -> Tensor:
        """Compute the log-odds (B,) float64 that text and image match."""
        words, patches = task.fusion(states, mask, image, image_index)
        scores = task.matching_head(words, patches).double()
        odds: Tensor = scores[:, 1] - scores[:, 0]
        return odds

    # ---- re-ranking ---------------------------------------------------------------------------

    def _keep_queries(self, places: list[int], image: Tensor, split: str) -> None:
        """Keep the tokens of the images to re-rank, evenly spaced over the split."""
        if self._matching:
            stride = -(-len(self._data.rows(split)) // QUERIES[split])
            # Copies on the CPU, so that a query does not keep its batch alive.
            self._queries += [
                (place, image[row].detach().clone().cpu())
                for row, place in enumerate(places)
                if place % stride == 0
            ]

    def _rerank(self, task: LocalAlignmentTask, features: SplitFeatures, split: str) -> Tensor:
        """Compute precision (N,) float64 after re-ranking; NaN for images not re-ranked."""
        row_of = {place: row for row, place in enumerate(features.position.tolist())}
        relevance = features.relevance
        none = features.position[:0]  # so that processes without a query have the same shapes
        self.lists.update(position=none, reranked=none.double())
        for start in range(0, len(self._queries), _CHUNK):
            chunk = self._queries[start : start + _CHUNK]
            rows = torch.tensor([row_of[place] for place, _ in chunk], device=relevance.device)
            order = (features.image[rows] @ features.text.T).sort(
                stable=True, dim=1, descending=True
            )
            nearest = order.indices[:, :RERANKED]  # (C, R)
            image = torch.stack([tokens for _, tokens in chunk]).to(relevance.device)
            text = self._texts(split, features.position[nearest.flatten()].tolist(), image)
            index = torch.arange(len(chunk), device=image.device).repeat_interleave(
                nearest.shape[1]
            )
            odds = self._odds(task, task.text(text.ids, text.mask), text.mask, image, index)
            again = odds.view_as(nearest).sort(stable=True, dim=1, descending=True).indices
            best = nearest.gather(1, again)[:, :JUDGED]
            hits = (relevance[best] == relevance[rows, None]).double().mean(1)
            self.lists.update(position=features.position[rows], reranked=hits)
        lists = self.lists.compute()
        self.lists.reset()
        self._queries = []
        reranked = torch.full((len(features.position),), math.nan, dtype=torch.float64)
        # Positions are sorted.
        at = torch.searchsorted(features.position.cpu(), lists["position"])
        reranked[at] = lists["reranked"]
        return reranked

    # ---- localisation -------------------------------------------------------------------------

    def _localise(self, task: LocalAlignmentTask, batch: StudyBatch, own: LocalTokens) -> None:
        names = zip(batch.study_ids, batch.first_ids, strict=True)
        regions = [self._data.regions(study, image) for study, image in names]
        shown: dict[int, Sequence[Region]] = {row: its for row, its in enumerate(regions) if its}
        found: dict[int, FoundRegion] = {}
        if shown and task.tokenizer is not None:
            chosen = torch.tensor(list(shown), device=own.words.device)
            plans, _ = own.rows(chosen, chosen).plan(task.transport)
            tokenizer = Tokenizer.from_str(task.tokenizer)
            centres = task.vision.patch_centres
            for plan, (row, its) in zip(plans.double().cpu().numpy(), shown.items(), strict=True):
                words = words_of(batch.text.ids[row], batch.text.mask[row], tokenizer)
                place = int(batch.position[row])
                rng = np.random.default_rng(place)  # the same draw in every run
                here = found_regions(plan, words, its, self._names, centres, rng)
                found |= {place * _FINDINGS + number: one for number, one in enumerate(here)}
        # Update even without findings, so that all processes have the same shapes.
        ones, patches, device = [*found.values()], own.patches.shape[1], batch.position.device
        kinds = torch.tensor([self._kinds.index(one.kind) for one in ones], device=device)
        self.findings.update(
            position=torch.tensor(list(found), dtype=torch.long, device=device),
            kind=kinds.long(),
            area=torch.tensor([one.area for one in ones], dtype=torch.float64, device=device),
            **{
                name: torch.from_numpy(
                    np.array([getattr(one, name) for one in ones]).reshape(-1, patches)
                ).to(device)
                for name in ("mass", "other", "shares")
            },
        )


def mean_cosine(tokens: LocalTokens) -> Tensor:
    """Compute the mean cosine (B,) of words and patches; NaN without words."""
    words = F.normalize(tokens.words.double(), dim=-1)
    kept = tokens.mask[..., None].to(words.dtype)
    words = (words * kept).sum(1) / kept.sum(1)
    patches = F.normalize(tokens.patches.double(), dim=-1).mean(1)
    return (words * patches).sum(1)


def _without(values: Tensor, missing: Tensor) -> Tensor:
    """Convert to float64, with NaN where missing."""
    return values.double().masked_fill(missing, math.nan)


def logged_pairs(scores: PairScores) -> dict[str, float]:
    """Average the available scores by tag."""
    made: dict[str, float] = {}
    if scores.matching is not None:
        own = _numbers(scores.matching["own"])
        areas = {}
        for name in ("random", "hard"):
            negative = _numbers(scores.matching[name])
            if own and negative:
                areas[f"matching_auc_{name}"] = auc(own, negative)
        made |= areas
        if areas:
            made["matching_auc"] = statistics.fmean(areas.values())
    if scores.reranked is not None and (lists := _numbers(scores.reranked)):
        made[f"precision@{JUDGED}_reranked"] = statistics.fmean(lists)
    own, drawn = (_numbers(scores.transport[name]) for name in ("own", "random"))
    if own and drawn:
        made["transport_own"] = statistics.fmean(own)
        made["transport_margin"] = statistics.fmean(drawn) - statistics.fmean(own)
    if cosine := _numbers(scores.cosine):
        made["transport_cosine"] = statistics.fmean(cosine)
    return made | _localisation(scores.localised)


def _localisation(found: tuple[Localised, ...]) -> dict[str, float]:
    if not found:
        return {}
    ratios = [one.inside / one.area for one in found]
    made = {
        "localisation": statistics.fmean(ratios),
        "localisation_median": statistics.median(ratios),
    }
    for name in ("other_word", "elsewhere"):
        pairs = [(value, one.area) for one in found if (value := getattr(one, name)) is not None]
        if pairs:
            made[f"localisation_{name}"] = statistics.fmean(value / area for value, area in pairs)
    for kind in sorted({one.kind for one in found}):
        own = [one.inside / one.area for one in found if one.kind == kind]
        made[f"localisation/{kind}"] = statistics.fmean(own)
    return made


def _numbers(values: Tensor) -> list[float]:
    """Return the values without NaN."""
    return [value for value in values.tolist() if not math.isnan(value)]
