"""The answering stage: encode, fuse, attend to the answer vocabulary, decode."""

from __future__ import annotations

import math
from os import PathLike
from pathlib import Path
from typing import Literal, Self

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from PIL import Image
from torch import Tensor, nn
from torchmetrics import MeanMetric

from amif_lightning.answer_space import AnswerSpace
from amif_lightning.batch import VQABatch
from amif_lightning.data.loading.token_cache import FrozenEncoders
from amif_lightning.errors import UserError
from amif_lightning.evaluation import Prediction, VocabularyReading
from amif_lightning.losses.answering import pointer_loss
from amif_lightning.metrics.vocabulary_use import AnswerEntries, VocabularyUse, gate_means, use_of
from amif_lightning.metrics.vqa_accuracy import VQAAccuracy
from amif_lightning.models.decoder import AnswerDecoder
from amif_lightning.models.fusion import EncodedPair
from amif_lightning.models.knowledge import DecoderInput, GatedCrossAttention, Vocabulary
from amif_lightning.signatures import Unpack
from amif_lightning.tasks.answering.decoding import MAX_ANSWER_POSITIONS, Answerer, Ranked
from amif_lightning.tasks.answering.doubts import TrainingDomainTask
from amif_lightning.tasks.answering.frozen import encode_batch, frozen_encoders
from amif_lightning.tasks.answering.shared_folder import fetch_shared, read_shared
from amif_lightning.tasks.answering.single_question import Asked, RankedAnswer, answers_known, ask
from amif_lightning.tasks.argument_checks import check_at_least_one, check_smoothing, check_weights
from amif_lightning.tasks.checkpoints import ANSWERING, readable_by_lightning
from amif_lightning.tasks.options import AuxiliaryOptions

NO_SPACE = "the task has no answer space: set it up with data or a checkpoint"


class AMiFVQA(TrainingDomainTask):
    """Answers questions about images by ranking or generating answers (paper, answering stage).

    Args:
        decoder_layers: Layers of the answer decoder; null: as many as fusion layers.
        knowledge: Whether gated cross-attention to the answer vocabulary is used (ablation).
        gate: Whether a gate scales the vocabulary's contribution to each token (ablation).
        knowledge_supervision: Weight of the pointer loss, which directs the attention on the
            vocabulary to the words of the answer (0: without, as in the paper).
        answer_tags: Weight of a loss that predicts the answer's vocabulary entries from the image's
            summary token alone (0: without, as in the paper). It trains the image encoder and
            never answers.
        answer_by: ``rank``: exact log-likelihood of every candidate; ``generate``: beam search.
        beams: Beam width of ``generate``.
        restrict_closed: Answer questions that the release marks closed only by yes or no. This uses
            the release's answer_type field, which a new question does not have.
        label_smoothing: Share of the target spread over all scored tokens in training, in [0, 1).
        output_tokens: Tokens that the decoder scores: ``all``, or those of the candidate
            ``answers`` with [PAD] in place of all others, which is faster.
        freeze_decoder_words: Whether to keep the word embeddings of the decoder (its output layer).
        length_penalty: p >= 0; candidates are ranked by log-likelihood / (number of tokens with the
            end token)**p. With p = 0 a prefix tree finds the best; otherwise every candidate is
            scored, which is slower.
        **kwargs: Arguments of :class:`AuxiliaryTask`.
    """

    kind = ANSWERING
    monitor = "val/overall"
    mode: Literal["min", "max"] = "max"

    def __init__(
        self,
        decoder_layers: int | None = None,
        knowledge: bool = True,
        gate: bool = True,
        knowledge_supervision: float = 0.0,
        answer_tags: float = 0.0,
        answer_by: Literal["rank", "generate"] = "rank",
        beams: int = 3,
        restrict_closed: bool = False,
        label_smoothing: float = 0.0,
        output_tokens: Literal["all", "answers"] = "all",
        freeze_decoder_words: bool = False,
        length_penalty: float = 0.0,
        **kwargs: Unpack[AuxiliaryOptions],
    ) -> None:
        super().__init__(**kwargs)
        self.save_hyperparameters()
        # The resolved value, so that the tower keeps its activation when it is restored.
        self.hparams["vision_quick_gelu"] = self.quick_gelu
        if answer_by == "generate" and restrict_closed:
            raise UserError(
                "model.init_args.restrict_closed chooses among candidates and answer_by generate "
                "has none: leave out one of the two."
            )
        if not 0 <= length_penalty < math.inf or (length_penalty and answer_by == "generate"):
            raise UserError(
                f"model.init_args.length_penalty is {length_penalty}: give 0 or more, and 0 with "
                "answer_by generate."
            )
        check_smoothing(label_smoothing=label_smoothing)
        check_weights(knowledge_supervision=knowledge_supervision, answer_tags=answer_tags)
        if knowledge_supervision and not knowledge:
            raise UserError(
                f"model.init_args.knowledge_supervision is {knowledge_supervision} and knowledge "
                "is off: leave out one of the two."
            )
        layers = len(self.fusion.text_layers) if decoder_layers is None else decoder_layers
        check_at_least_one(beams=beams, decoder_layers=layers)
        self.answer_by: Literal["rank", "generate"] = answer_by
        self.beams, self.length_penalty = beams, length_penalty
        self.restrict_closed, self.label_smoothing = restrict_closed, label_smoothing
        self.knowledge_supervision, self.answer_tags = knowledge_supervision, answer_tags
        width, heads = self.fusion.width, self.heads
        if self.text.width != width:
            raise UserError(
                f"The text encoder is {self.text.width} wide and model.init_args.width is {width}: "
                "the decoder starts from the encoder's weights, so make them equal."
            )
        self.knowledge = (
            GatedCrossAttention(width, heads, self.dropout, self.attention_dropout, gated=gate)
            if knowledge
            else None
        )
        self.tags = nn.Linear(self.vision.width, self.text.width) if answer_tags else None
        self.decoder = AnswerDecoder(
            vocab_size=self.text.table_size,
            width=width,
            layers=layers,
            heads=heads,
            intermediate=int(self.text.bert.config.intermediate_size),
            max_length=MAX_ANSWER_POSITIONS,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            attn_implementation=self.attention,
        )
        self.decoder.initialise_from(self.text.bert)
        self.decoder.lm.get_input_embeddings().requires_grad_(not freeze_decoder_words)
        self.output_tokens = output_tokens
        self.vocabulary: Vocabulary | None = None
        self.entries = AnswerEntries(())
        self.answerer: Answerer | None = None
        self.strata: tuple[str, ...] = ()

    # ---- life cycle ---------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Set the answer space and prepare the metrics.

        Raises:
            UserError: If the data do not fit, or loaders without data module are to be scored.
        """
        data = self._data()
        if data is not None and not hasattr(data, "strata"):
            raise UserError(
                f"{type(self).__name__} answers questions and {type(data).__name__} gives studies: "
                "give --data a class of questions, such as Phantom."
            )
        super().setup(stage)
        if data is None:
            if stage != "predict":
                raise UserError(
                    "On loaders alone this task can only predict, because scores need the data "
                    "module's strata: give the trainer `datamodule=` instead."
                )
            return
        self.strata = tuple(data.strata)
        self.val_accuracy = VQAAccuracy(self.strata)
        self.test_accuracy = VQAAccuracy(self.strata)
        self.control_accuracy = VQAAccuracy(self.strata)
        self.blank_accuracy = VQAAccuracy(self.strata)
        # Checking for NaN would synchronise with the GPU in every step and hide the NaN.
        self.val_loss = MeanMetric(nan_strategy="disable")
        self.val_knowledge, self.test_knowledge = VocabularyUse(), VocabularyUse()
        if self.restrict_closed and "closed/field" not in self.strata:
            raise UserError(
                "model.init_args.restrict_closed needs a release that marks closed questions, and "
                "these data have none: leave the option off."
            )

    def _complete(self, missing: list[str]) -> None:
        """Initialise a missing decoder from the loaded text encoder."""
        own = [name for name in self.state_dict() if name.startswith("decoder.")]
        if set(own) <= set(missing):
            self.decoder.initialise_from(self.text.bert)

    def _use_space(self, space: AnswerSpace) -> None:
        super()._use_space(space)
        self.vocabulary, self.entries = None, AnswerEntries(space.vocabulary)
        unused = [part for part in (self.knowledge, self.tags) if part is not None]
        if unused and space.candidates and not space.vocabulary:
            rank_zero_warn(
                "The answer vocabulary is empty, so knowledge attention and answer tags are unused."
            )
            for part in unused:  # DDP waits for gradients of trained parameters
                part.requires_grad_(False)
        if space.vocabulary:
            self.vocabulary = Vocabulary(space.vocabulary_ids).to(self.device)
        if self.output_tokens == "answers" and space.candidates:
            used = {space.sep_id, *(token for ids in space.candidate_ids for token in ids)}
            self.decoder.score_only(used, other=space.pad_id)
        # Questions without answers have no candidates until a checkpoint is restored.
        options = self.answer_by, self.beams, self.restrict_closed, self.length_penalty
        self.answerer = Answerer(self.decoder, space, *options) if space.candidates else None
        if self.knowledge is not None:
            self.knowledge.forget()

    @classmethod
    def from_pretrained(cls, source: str | Path) -> Self:
        """Load a model that ``share`` wrote, on the CPU in evaluation mode.

        ``source`` is a folder, or ``NAMESPACE/NAME[@REVISION]`` on the hub. Raises a UserError.
        """
        state = read_shared(fetch_shared(source))
        return cls.load_from_checkpoint(readable_by_lightning(state), map_location="cpu").eval()

    def frozen_encoders(self) -> FrozenEncoders:
        """Return the frozen encoders, whose tokens the data module may cache."""
        return frozen_encoders(self)

    # ---- forward ------------------------------------------------------------------------------

    def forward(self, batch: VQABatch) -> DecoderInput:
        """Fuse questions and images and attend to the answer vocabulary."""
        return self.read(encode_batch(self, batch))

    def read(self, encoded: EncodedPair) -> DecoderInput:
        """Attend from fused questions and images to the answer vocabulary."""
        states, mask = self.fusion.join(encoded.words, encoded.mask, encoded.patches)
        if self.knowledge is not None and self.space is None:
            raise RuntimeError(NO_SPACE)
        if self.knowledge is None or self.vocabulary is None:
            return DecoderInput(states, mask, encoded.words.shape[1], None)
        reading = self.knowledge(states, self.vocabulary(self.text.word_embedding))
        return DecoderInput(reading.states, mask, encoded.words.shape[1], reading)

    def answer(
        self,
        image: Image.Image | str | PathLike[str],
        question: str,
        max_answers: int = 5,
        frame: int | None = None,
    ) -> list[RankedAnswer]:
        """Answer one question about one image, ``task.answer("scan.png", "is there a mass?")``.

        ``image`` is an image, or the path of a PNG, JPEG, TIFF or DICOM file; ``frame`` counts from
        0 in a multi-frame DICOM file. At most ``max_answers`` are returned with their
        probabilities, the best first; a single one with ``answer_by`` ``generate``. All candidates
        are ranked, even with ``restrict_closed``. Not for clinical use.

        Raises:
            UserError: If the image cannot be read, the question is empty, or the task has no
                candidate answers.
        """
        return ask(self, [Asked(image, question, frame)], max_answers)[0].answers

    def ranked(self, fused: DecoderInput, max_answers: int) -> list[Ranked]:
        """Return the best of all candidates for each question, with their log-likelihoods."""
        return self._answerer().ranked(fused.states, fused.mask, max_answers)

    def answers(self, fused: DecoderInput, batch: VQABatch) -> Ranked:
        """Return text and log-likelihood of the answer to each question of a batch."""
        answerer = self._answerer()
        closed = None
        if self.restrict_closed:
            closed = batch.strata[:, self.strata.index("closed/field")].nonzero()[:, 0]
        return answerer.answers(fused.states, fused.mask, batch.references, closed)

    def _answerer(self) -> Answerer:
        if self.answerer is None:
            raise RuntimeError(NO_SPACE)
        return self.answerer

    def log_tags(self, encoded: EncodedPair, batch: VQABatch) -> Tensor:
        """Predict the vocabulary entries of answers about an image: log-probabilities (B, N)."""
        assert self.tags is not None
        assert self.vocabulary is not None
        entries = self.vocabulary(self.text.word_embedding)
        logits = F.linear(self.tags(encoded.image[:, 0]), entries)
        return logits.float().log_softmax(1).index_select(0, batch.image_index)

    # ---- steps --------------------------------------------------------------------------------

    def training_step(self, batch: VQABatch, batch_idx: int) -> Tensor:
        """Return the answers' mean negative log-likelihood plus the weighted auxiliary losses."""
        encoded = encode_batch(self, batch)
        fused = self.read(encoded)
        inputs = batch.answer, fused.states, fused.mask
        likelihood = self.decoder.log_likelihood(*inputs, self.label_smoothing)
        # float32 under any default type; filled on the device, because a copy would synchronise.
        questions = torch.full((), len(batch), dtype=torch.float32, device=self.device)
        gate = known = torch.zeros_like(questions)
        pointers: dict[str, tuple[float, Tensor]] = {}  # weight and sum of each loss by name
        if self.vocabulary is not None and (self.knowledge_supervision or self.tags is not None):
            entries = self.entries.of(batch.references, self.device)
            if self.knowledge_supervision and fused.reading is not None:
                pointed, known = pointer_loss(fused.reading.log_attention, entries)
                pointers["knowledge"] = self.knowledge_supervision, pointed
            if self.tags is not None:
                pointed, known = pointer_loss(self.log_tags(encoded, batch), entries)
                pointers["answer_tags"] = self.answer_tags, pointed
        if fused.reading is not None:
            gate = gate_means(fused.reading.gate, fused.mask).sum()
        sums = [likelihood.sum(), questions, gate, known, *(loss for _, loss in pointers.values())]
        totals = torch.stack([value.detach() for value in sums])
        if self.trainer.world_size > 1:
            # Not the strategy's `reduce`, which begins with a barrier.
            torch.distributed.all_reduce(totals)
        # Processes may hold different numbers of questions. DDP's average of the gradients is the
        # mean over all questions only if each process divides by the average number.
        loss = -likelihood.sum() / (totals[1] / self.trainer.world_size)
        size = len(batch)
        self.log("train/answer_loss", -totals[0] / totals[1], prog_bar=True, batch_size=size)
        if fused.reading is not None:
            self.log("train/gate_mean", totals[2] / totals[1], batch_size=size)
        count = totals[3].clamp_min(1)  # the sums are 0 without entries
        for (name, (weight, pointed)), total in zip(pointers.items(), totals[4:], strict=True):
            self.log(f"train/{name}_loss", total / count, batch_size=size)
            loss = loss + weight * pointed / (count / self.trainer.world_size)
        for auxiliary in self.auxiliary_losses(batch, encoded, totals[1]):
            loss = loss + auxiliary
        return loss

    def validation_step(self, batch: VQABatch, batch_idx: int) -> dict[str, list[Prediction]]:
        """Answer, count, and update the loss."""
        fused = self(batch)
        predictions = self._predict(fused, batch, self.val_accuracy, self.val_knowledge)
        self.val_loss.update(-self.decoder.log_likelihood(batch.answer, fused.states, fused.mask))
        return {"predictions": predictions}

    def test_step(
        self, batch: VQABatch, batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, list[Prediction]]:
        """Answer and count; the other loaders are the controls with shuffled and blank images."""
        accuracy = (self.test_accuracy, self.control_accuracy, self.blank_accuracy)[dataloader_idx]
        knowledge = None if dataloader_idx else self.test_knowledge
        return {"predictions": self._predict(self(batch), batch, accuracy, knowledge)}

    def on_predict_start(self) -> None:
        """Raise a UserError without candidates: questions without answers need a checkpoint."""
        answers_known(self)

    def predict_step(self, batch: VQABatch, batch_idx: int) -> list[Prediction]:
        """Answer without counting."""
        return self._predict(self(batch), batch)

    def _predict(
        self,
        fused: DecoderInput,
        batch: VQABatch,
        metric: VQAAccuracy | None = None,
        knowledge: VocabularyUse | None = None,
    ) -> list[Prediction]:
        answers = self.answers(fused, batch)
        correct = [a in r for (a, _), r in zip(answers, batch.references, strict=True)]
        if metric is not None:
            metric.update(torch.tensor(correct, device=self.device), batch.strata)
        readings: list[VocabularyReading | None] = [None] * len(batch)
        if fused.reading is not None and self.space is not None:
            entries = self.entries.of(batch.references, self.device)
            use = use_of(fused.reading, fused.mask, entries)
            if knowledge is not None:
                knowledge.update(use)
            readings = [*use.readings(self.space.vocabulary)]
        return [
            Prediction(question_id, image_key, answer, value, right, reading)
            for question_id, image_key, (answer, value), right, reading in zip(
                batch.question_ids, batch.image_keys, answers, correct, readings, strict=True
            )
        ]

    def on_validation_epoch_end(self) -> None:
        """Log accuracy by stratum, vocabulary use and the mean loss."""
        self._log_accuracy("val", self.val_accuracy)
        self._log_knowledge("val", self.val_knowledge)
        self.log("val/answer_loss", self.val_loss.compute(), rank_zero_only=False)
        self.val_loss.reset()

    def on_test_epoch_end(self) -> None:
        """Log accuracy by stratum, vocabulary use and the accuracy of the controls."""
        self._log_accuracy("test", self.test_accuracy)
        self._log_knowledge("test", self.test_knowledge)
        for name, metric in (("control", self.control_accuracy), ("blank", self.blank_accuracy)):
            if int(metric.count.sum()):
                self._log_accuracy(name, metric)

    def _log_accuracy(self, prefix: str, metric: VQAAccuracy) -> None:
        # compute() has summed over processes, so every process logs the same exact value.
        for name, value in metric.compute().items():
            tag = f"{prefix}/{name}"
            self.log(tag, value.float(), prog_bar=tag == self.monitor, rank_zero_only=False)
        metric.reset()

    def _log_knowledge(self, prefix: str, metric: VocabularyUse) -> None:
        if self.knowledge is None or self.vocabulary is None:
            return
        for name, value in metric.compute().items():
            shown = "gate_mean" if name == "gate" else f"knowledge_{name}"
            self.log(f"{prefix}/{shown}", value, rank_zero_only=False)  # see `_log_accuracy`
        metric.reset()
