"""The answering stage: encode, fuse, read the answer vocabulary through the gate, answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from tokenizers import Tokenizer
from torch import Tensor

from amif_lightning.batch import AnswerSpace, Prediction, VQABatch, pad_tokens
from amif_lightning.errors import UserError
from amif_lightning.losses.likelihood import sequence_log_likelihood
from amif_lightning.metrics.vqa_accuracy import VQAAccuracy
from amif_lightning.models.decoder import AnswerDecoder
from amif_lightning.models.generation import generate
from amif_lightning.models.knowledge import GatedCrossAttention, KnowledgeReading, Vocabulary
from amif_lightning.models.ranking import CandidateTree, best
from amif_lightning.tasks.base import AMiFTask

MAX_ANSWER_POSITIONS = 64


@dataclass(frozen=True)
class Fused:
    """What the decoder reads, and how it came about.

    Attributes:
        states: (B, S, D) question tokens, then image tokens.
        mask: (B, S) bool, false on padding.
        words: Number of leading question positions among S.
        reading: The gated cross-attention's gate and attention; None where it is switched off.
    """

    states: Tensor
    mask: Tensor
    words: int
    reading: KnowledgeReading | None


class AMiFVQA(AMiFTask):
    """Answers questions about images by ranking or generating answers (paper, answering stage).

    Args:
        decoder_layers: Layers of the answer decoder; null: as many as fusion layers.
        knowledge: Whether the gated cross-attention reads the answer vocabulary (ablation).
        answer_by: ``rank``: exact log-likelihood of every candidate; ``generate``: beam search.
        beams: Beam width of ``generate``.
        restrict_closed: Let questions that the release marks closed be answered by yes or no only.
            This uses the release's answer_type field, which nobody has for a new question.
        label_smoothing: Share of the target spread over all tokens in training (released: none).
        **kwargs: Arguments of :class:`AMiFTask`.
    """

    monitor = "val/overall"
    mode: Literal["min", "max"] = "max"

    def __init__(
        self,
        decoder_layers: int | None = None,
        knowledge: bool = True,
        answer_by: Literal["rank", "generate"] = "rank",
        beams: int = 3,
        restrict_closed: bool = False,
        label_smoothing: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.save_hyperparameters()
        self.answer_by, self.beams = answer_by, beams
        self.restrict_closed, self.label_smoothing = restrict_closed, label_smoothing
        width, heads = self.fusion.width, self.heads
        if self.text.width != width:
            raise UserError(
                f"The text encoder is {self.text.width} wide and model.init_args.width is {width}: "
                "the decoder starts from the encoder's weights, so make them equal."
            )
        self.knowledge = GatedCrossAttention(width, heads, self.dropout) if knowledge else None
        self.decoder = AnswerDecoder(
            vocab_size=self.text.table_size,
            width=width,
            layers=len(self.fusion.text_layers) if decoder_layers is None else decoder_layers,
            heads=heads,
            intermediate=int(self.text.bert.config.intermediate_size),
            max_length=MAX_ANSWER_POSITIONS,
            dropout=self.dropout,
            attn_implementation=self.attention,
        )
        self.decoder.initialise_from(self.text.bert)
        self.vocabulary: Vocabulary | None = None
        self.strata: tuple[str, ...] = ()

    # ---- life cycle ---------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Take over the answer space and prepare exact counts per stratum."""
        super().setup(stage)
        self.strata = tuple(self.trainer.datamodule.strata)  # type: ignore[attr-defined]  # Trainer
        self.val_accuracy = VQAAccuracy(self.strata)
        self.test_accuracy = VQAAccuracy(self.strata)
        self.control_accuracy = VQAAccuracy(self.strata)
        if self.restrict_closed and "closed/field" not in self.strata:
            raise UserError(
                "model.init_args.restrict_closed needs a release that marks closed questions, and "
                "this one has no such field: leave the option off."
            )

    def _use_space(self, space: AnswerSpace) -> None:
        super()._use_space(space)
        longest = max((len(ids) for ids in space.candidate_ids), default=0)
        if longest >= MAX_ANSWER_POSITIONS:
            raise UserError(
                f"A candidate answer has {longest} tokens and the decoder {MAX_ANSWER_POSITIONS} "
                f"positions: lower --data.init_args.max_answer_tokens to {MAX_ANSWER_POSITIONS}."
            )
        self.vocabulary = Vocabulary(space.vocabulary_ids).to(self.device)
        self.tree = CandidateTree(space.candidate_ids, space.cls_id, space.sep_id)
        closed = [c for c in ("yes", "no") if c in space.candidates]
        self.closed_candidates = tuple(space.candidates.index(c) for c in closed)
        self.closed_tree = (
            CandidateTree(
                [space.candidate_ids[i] for i in self.closed_candidates],
                space.cls_id,
                space.sep_id,
            )
            if closed
            else None
        )
        if self.knowledge is not None:
            self.knowledge.forget()

    # ---- forward ------------------------------------------------------------------------------

    def forward(self, batch: VQABatch, *, attention: bool = False) -> Fused:
        """Fuse questions and images and let them read the answer vocabulary."""
        text = self.text(batch.question.ids, batch.question.mask)
        image = self.vision(batch.images)
        words, patches = self.fusion(text, batch.question.mask, image, batch.image_index)
        states, mask = self.fusion.join(words, batch.question.mask, patches)
        if self.knowledge is None or self.vocabulary is None:
            return Fused(states, mask, words.shape[1], None)
        vectors = self.vocabulary(self.text.word_embedding)
        reading = self.knowledge(states, vectors, attention=attention)
        return Fused(reading.states, mask, words.shape[1], reading)

    def answer_log_likelihood(
        self, fused: Fused, batch: VQABatch, label_smoothing: float = 0.0
    ) -> Tensor:
        """Log-likelihood (B,) of the batch's answers, end token included."""
        ids, mask = batch.answer.ids, batch.answer.mask
        logits = self.decoder(ids[:, :-1], mask[:, :-1], fused.states, fused.mask)
        return sequence_log_likelihood(logits, ids[:, 1:], mask[:, 1:], label_smoothing)

    @torch.no_grad()
    def answer(self, fused: Fused, batch: VQABatch) -> list[tuple[str, float]]:
        """Answer each question: the text, and its log-likelihood."""
        space = self._space()
        if self.answer_by == "generate":
            return self._generate(fused)
        scores, chosen = best(self.decoder, self.tree.to(self.device), fused.states, fused.mask)
        answers = [space.candidates[i] for i in chosen[:, 0].tolist()]
        values = scores[:, 0].tolist()
        if self.restrict_closed and self.closed_tree is not None:
            closed = batch.strata[:, self.strata.index("closed/field")]
            if closed.any():
                tree = self.closed_tree.to(self.device)
                scores, chosen = best(self.decoder, tree, fused.states[closed], fused.mask[closed])
                for row, value, index in zip(
                    closed.nonzero()[:, 0].tolist(),
                    scores[:, 0].tolist(),
                    chosen[:, 0].tolist(),
                    strict=True,
                ):
                    answers[row] = space.candidates[self.closed_candidates[index]]
                    values[row] = value
        return list(zip(answers, values, strict=True))

    def _generate(self, fused: Fused) -> list[tuple[str, float]]:
        space = self._space()
        tokenizer = Tokenizer.from_str(space.tokenizer)
        sequences = generate(
            self.decoder,
            fused.states,
            fused.mask,
            bos=space.cls_id,
            eos=space.sep_id,
            pad=space.pad_id,
            beams=self.beams,
        )
        texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in sequences]
        # A text passes through the tokenizer once, which sets blanks around signs. A generated
        # answer that is a candidate in that form is reported in the candidate's own spelling.
        spelling = {
            tokenizer.decode(list(ids), skip_special_tokens=True): text
            for text, ids in zip(space.candidates, space.candidate_ids, strict=True)
        }
        scored = zip(texts, self._likelihood_of(sequences, fused), strict=True)
        return [(spelling.get(text, text), value) for text, value in scored]

    def _likelihood_of(self, sequences: list[list[int]], fused: Fused) -> list[float]:
        space = self._space()
        tokens = pad_tokens(
            [[space.cls_id, *ids, space.sep_id][:MAX_ANSWER_POSITIONS] for ids in sequences],
            space.pad_id,
        ).to(self.device)
        logits = self.decoder(tokens.ids[:, :-1], tokens.mask[:, :-1], fused.states, fused.mask)
        values: list[float] = sequence_log_likelihood(
            logits, tokens.ids[:, 1:], tokens.mask[:, 1:]
        ).tolist()
        return values

    def _space(self) -> AnswerSpace:
        if self.space is None:
            raise RuntimeError("the task has no answer space: set it up with data or a checkpoint")
        return self.space

    # ---- steps --------------------------------------------------------------------------------

    def training_step(self, batch: VQABatch, batch_idx: int) -> Tensor:
        """Mean negative log-likelihood of the answers over the global batch."""
        fused = self(batch)
        likelihood = self.answer_log_likelihood(fused, batch, self.label_smoothing)
        # Groups hold one to several questions, so processes may hold different numbers of them.
        # Averaging gradients over processes gives the mean over all questions only when each
        # divides by the average number.
        questions = torch.tensor(float(len(batch)), device=self.device)
        loss = -likelihood.sum() / self.trainer.strategy.reduce(questions, reduce_op="mean")
        self.log("train/answer_loss", loss.detach(), prog_bar=True, batch_size=len(batch))
        if fused.reading is not None:
            gate = fused.reading.gate.detach()[fused.mask].mean()
            self.log("train/gate_mean", gate, batch_size=len(batch))
        return loss

    def validation_step(self, batch: VQABatch, batch_idx: int) -> dict[str, list[Prediction]]:
        """Rank (or generate) and count; the loss is logged beside."""
        fused = self(batch)
        predictions = self._predict(fused, batch, self.val_accuracy)
        loss = -self.answer_log_likelihood(fused, batch).mean()
        self.log("val/answer_loss", loss, batch_size=len(batch), sync_dist=True)
        if fused.reading is not None:
            gate = fused.reading.gate[fused.mask].mean()
            self.log("val/gate_mean", gate, batch_size=len(batch), sync_dist=True)
        return {"predictions": predictions}

    def test_step(
        self, batch: VQABatch, batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, list[Prediction]]:
        """Answer the test questions; the second loader is the shuffled-image control."""
        metric = self.control_accuracy if dataloader_idx else self.test_accuracy
        return {"predictions": self._predict(self(batch), batch, metric)}

    def predict_step(self, batch: VQABatch, batch_idx: int) -> list[Prediction]:
        """Answer without counting."""
        return self._predict(self(batch), batch, None)

    def _predict(
        self, fused: Fused, batch: VQABatch, metric: VQAAccuracy | None
    ) -> list[Prediction]:
        answers = self.answer(fused, batch)
        correct = [a in r for (a, _), r in zip(answers, batch.references, strict=True)]
        if metric is not None:
            metric.update(torch.tensor(correct, device=self.device), batch.strata)
        return [
            Prediction(question_id, image_id, answer, value, right)
            for question_id, image_id, (answer, value), right in zip(
                batch.question_ids, batch.image_ids, answers, correct, strict=True
            )
        ]

    def on_validation_epoch_end(self) -> None:
        """Log accuracy by stratum."""
        self._log_accuracy("val", self.val_accuracy)

    def on_test_epoch_end(self) -> None:
        """Log accuracy by stratum, and that of the control."""
        self._log_accuracy("test", self.test_accuracy)
        if int(self.control_accuracy.count.sum()):
            self._log_accuracy("control", self.control_accuracy)

    def _log_accuracy(self, prefix: str, metric: VQAAccuracy) -> None:
        # compute() has summed over processes, so every process logs the same exact value;
        # averaging again with sync_dist would go through Lightning's integer division.
        values = {f"{prefix}/{name}": value.float() for name, value in metric.compute().items()}
        self.log_dict(values, rank_zero_only=False)
        metric.reset()
