"""Ranking candidates or generating answers from fused tokens (B questions, k answers each)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from amif_lightning.answer_space import AnswerSpace
from amif_lightning.batch import pad_tokens
from amif_lightning.data.preprocessing.tokenizer import Tokenizer
from amif_lightning.errors import UserError
from amif_lightning.models.decoder import AnswerDecoder, generate
from amif_lightning.models.ranking import CandidateTree, best, rank, top_k

MAX_ANSWER_POSITIONS = 64

#: Answers with their log-likelihoods, the best first.
Ranked = list[tuple[str, float]]


class Answerer:
    """Answers fused questions with a decoder in evaluation mode and an answer space.

    Options are those of :class:`amif_lightning.tasks.vqa.AMiFVQA`. ``states`` are fused tokens (B,
    S, D) of width D and ``mask`` (B, S) is true on tokens.

    Raises:
        UserError: If a candidate is too long for the decoder, or ``restrict_closed`` is set and yes
            or no is not a candidate.
    """

    def __init__(
        self,
        decoder: AnswerDecoder,
        space: AnswerSpace,
        answer_by: Literal["rank", "generate"],
        beams: int,
        restrict_closed: bool,
        length_penalty: float,
    ) -> None:
        longest = max((len(ids) for ids in space.candidate_ids), default=0)
        if longest >= MAX_ANSWER_POSITIONS:
            raise UserError(
                f"A candidate answer has {longest} tokens and the decoder {MAX_ANSWER_POSITIONS} "
                f"positions: lower --data.init_args.max_answer_tokens to {MAX_ANSWER_POSITIONS}."
            )
        closed = [space.candidates.index(c) for c in ("yes", "no") if c in space.candidates]
        if restrict_closed and len(closed) < 2:
            raise UserError(
                "model.init_args.restrict_closed needs yes and no among the candidate answers, and "
                "these data do not have both: leave the option off."
            )
        self.decoder, self.space = decoder, space
        self.answer_by, self.beams = answer_by, beams
        self.length_penalty = length_penalty
        self.tree = CandidateTree(space.candidate_ids, space.cls_id, space.sep_id)
        self.closed_candidates = tuple(closed)
        if restrict_closed:
            ids = [space.candidate_ids[i] for i in closed]
            self.closed_tree = CandidateTree(ids, space.cls_id, space.sep_id)
        if answer_by == "generate":
            self.spelling = Spelling(space)

    @torch.no_grad()
    def ranked(self, states: Tensor, mask: Tensor, max_answers: int) -> list[Ranked]:
        """Return the best candidates for each question, or a single generated answer."""
        if self.answer_by == "generate":
            return [[one] for one in self._generate(states, mask, [()] * len(states))]
        candidates = self.space.candidates
        self.tree = _on(self.tree, states)
        values, chosen = self._choose(self.tree, states, mask, min(max_answers, len(candidates)))
        return [
            [(candidates[i], value) for i, value in zip(row, scores, strict=True)]
            for row, scores in zip(chosen.tolist(), values.tolist(), strict=True)
        ]

    @torch.no_grad()
    def answers(
        self,
        states: Tensor,
        mask: Tensor,
        references: Sequence[Sequence[str]],
        closed: Tensor | None = None,
    ) -> Ranked:
        """Answer each question; those in the rows ``closed`` by yes or no.

        A generated answer with the same tokens as a correct answer in ``references`` is written
        like it.
        """
        if self.answer_by == "generate":
            return self._generate(states, mask, references)
        self.tree = _on(self.tree, states)
        values, chosen = self._choose(self.tree, states, mask)
        if closed is not None and len(closed):
            self.closed_tree = _on(self.closed_tree, states)
            values[closed], among = self._choose(self.closed_tree, states[closed], mask[closed])
            chosen[closed] = chosen.new_tensor(self.closed_candidates)[among]
        texts = [self.space.candidates[i] for i in chosen[:, 0].tolist()]
        return list(zip(texts, values[:, 0].tolist(), strict=True))

    def _choose(
        self, tree: CandidateTree, states: Tensor, mask: Tensor, k: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Return log-likelihood and index (B, k) of the best candidates."""
        if not self.length_penalty:
            return best(self.decoder, tree, states, mask, k)
        every = rank(self.decoder, tree, states, mask, self.length_penalty)
        scores, chosen = top_k(every, k)
        lengths = tree.lengths[chosen].float()
        return scores * lengths**self.length_penalty, chosen

    def _generate(
        self, states: Tensor, mask: Tensor, references: Sequence[Sequence[str]]
    ) -> Ranked:
        space = self.space
        sequences = generate(
            self.decoder,
            states,
            mask,
            bos=space.cls_id,
            eos=space.sep_id,
            pad=space.pad_id,
            beams=self.beams,
        )
        texts = map(self.spelling.of, sequences, references)
        return list(zip(texts, self.likelihood_of(sequences, states, mask), strict=True))

    def likelihood_of(
        self, sequences: Sequence[Sequence[int]], states: Tensor, mask: Tensor
    ) -> list[float]:
        """Compute the log-likelihoods of B lists of token ids without [CLS] and [SEP].

        An answer that fills all positions has no end token.
        """
        space = self.space
        tokens = pad_tokens(
            [[space.cls_id, *ids, space.sep_id][: MAX_ANSWER_POSITIONS + 1] for ids in sequences],
            space.pad_id,
        ).to(states.device)
        values: list[float] = self.decoder.log_likelihood(tokens, states, mask).tolist()
        return values


def _on(tree: CandidateTree, states: Tensor) -> CandidateTree:
    """Return the tree on the device of the states."""
    return tree if tree.tokens.device == states.device else tree.to(states.device)


class Spelling:
    """Writes generated tokens like a known answer with equal tokens.

    A generated ``mr/t2`` has three tokens and decodes to ``mr / t2``, so answers are compared as
    tokens. Generated tokens are decoded and encoded again first, because a beam may split a word
    into different pieces.
    """

    def __init__(self, space: AnswerSpace) -> None:
        self._tokenizer = Tokenizer.from_json(space.tokenizer)
        self._candidates: dict[tuple[int, ...], str] = {}
        for text, ids in zip(space.candidates, space.candidate_ids, strict=True):
            self._candidates.setdefault(tuple(ids), text)  # the first, as in ranking

    def of(self, ids: Sequence[int], references: Sequence[str] = ()) -> str:
        """Return the text of generated tokens, written like a reference with equal tokens."""
        tokens = tuple(ids)
        text = self._tokenizer.decode(ids)
        written = self._pieces(text)
        # A truncated candidate, or one with an unknown character, is matched by its tokens: its
        # text lacks that character and could equal another answer.
        if tokens != written and tokens in self._candidates:
            return self._candidates[tokens]
        if written:
            for reference in references:
                if self._pieces(reference) == written:
                    return reference
        return self._candidates.get(written, text)

    def _pieces(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.pieces(text))
