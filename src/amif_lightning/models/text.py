"""Text encoders: a BERT from the hub, a folder or a package, or a small one with random weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, BertConfig, BertModel
from transformers.utils import logging

from amif_lightning.checkpoint_file import check_weights
from amif_lightning.errors import UserError, first_line
from amif_lightning.hub import DOWNLOAD, use_cache_if_unreachable
from amif_lightning.models.packages import damaged, packaged

#: Sizes of the packaged encoder, so that a checkpoint loads without the package.
MINILM: dict[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
}


class TextEncoder(nn.Module):
    """Contextual token states of questions and reports.

    Args:
        name: ``small`` for a random BERT of the sizes below, ``minilm`` for all-MiniLM-L6-v2 from
            its package, or a hub name or local folder.
        pretrained: Whether to load that model's weights or only its configuration.
        width: Width of ``small``, as for the next four sizes.
        layers: Transformer layers.
        heads: Attention heads.
        table_size: Token slots.
        dropout: Dropout probability.
        attention_dropout: Dropout probability of attention weights; None: as ``dropout``, or as the
            configuration of the loaded model.
        attention: Implementation of attention in transformers (``sdpa`` or ``eager``).

    Raises:
        UserError: If the model cannot be loaded or is not a BERT.
    """

    def __init__(
        self,
        name: str,
        *,
        pretrained: bool = True,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        table_size: int = 4096,
        dropout: float = 0.1,
        attention_dropout: float | None = None,
        attention: str = "sdpa",
    ) -> None:
        super().__init__()
        if name == "small":
            config = BertConfig(
                vocab_size=table_size,
                hidden_size=width,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                intermediate_size=4 * width,
                max_position_embeddings=128,
                hidden_dropout_prob=dropout,
                attention_probs_dropout_prob=(
                    dropout if attention_dropout is None else attention_dropout
                ),
                initializer_range=initializer_range(width),
            )
            self.bert: Any = BertModel(config, add_pooling_layer=False)
        else:
            self.bert = _load(name, pretrained, attention_dropout)
        self.bert.set_attn_implementation(attention)
        self.width = int(self.bert.config.hidden_size)
        self.table_size = int(self.bert.config.vocab_size)

    @property
    def word_embedding(self) -> nn.Embedding:
        """Return the word embeddings, from which the vocabulary vectors are computed."""
        embedding: nn.Embedding = self.bert.get_input_embeddings()
        return embedding

    def words(self, ids: Tensor) -> Tensor:
        """Embed token ids (B, L) without context: normalised word embeddings (B, L, D)."""
        words: Tensor = self.bert.embeddings.LayerNorm(self.word_embedding(ids))
        return words

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode ids and mask (B, L) as states (B, L, D); a UserError if texts are too long."""
        max_positions = int(self.bert.config.max_position_embeddings)
        if ids.shape[1] > max_positions:
            raise UserError(
                f"A text has {ids.shape[1]} tokens and the text encoder {max_positions} positions: "
                "lower the data module's limit (max_question_tokens, max_text_tokens) to "
                f"{max_positions}."
            )
        states: Tensor = self.bert(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return states


def initializer_range(width: int) -> float:
    """Return the standard deviation of random transformer weights.

    BERT's 0.02 suits width 768. Narrow layers would pass on only a fraction of their input, and the
    decoder would learn to ignore its states: at width 128 it predicted the unconditional answer
    distribution for hundreds of steps. Below width 512, layers get unit gain.
    """
    return 0.02 if width >= 512 else float(width**-0.5)


def _load(name: str, pretrained: bool, attention_dropout: float | None) -> BertModel:
    """Load a BERT without its pooling layer, which would never be trained."""
    packed = name == "minilm"
    if not packed:
        use_cache_if_unreachable(name)
    try:
        config = (
            BertConfig(**MINILM)
            if packed
            else AutoConfig.from_pretrained(name, trust_remote_code=False)
        )
    except Exception as error:  # json and hub readers raise many types
        raise _unreachable(name, error) from error
    if not isinstance(config, BertConfig):
        raise UserError(
            f"The text encoder {name!r} is of type {config.model_type!r}, not a BERT: the answer "
            "decoder starts from its weights, so choose a BERT for --model.init_args.text."
        )
    if attention_dropout is not None:
        config.attention_probs_dropout_prob = attention_dropout
    if not pretrained:
        return BertModel(config, add_pooling_layer=False)
    source = packaged(name) if packed else Path(name)
    check_weights(source)
    try:
        # Weights are trained in float32; mixed precision casts them.
        with _quiet():
            loaded: Any = BertModel.from_pretrained(
                str(source),
                config=config,
                add_pooling_layer=False,
                dtype=torch.float32,
                output_loading_info=True,  # gives a pair
            )
    except Exception as error:  # pickle and safetensors readers raise many types
        raise damaged(name, first_line(error)) if packed else _unreachable(name, error) from error
    model: BertModel = loaded[0]
    missing = sorted(loaded[1]["missing_keys"])
    if missing:  # transformers would leave them random and warn
        if packed:
            raise damaged(name, f"it lacks {missing[0]}")
        raise UserError(
            f"The text encoder {name!r} has no weights for {len(missing)} parts of a BERT, the "
            f"first being {missing[0]}: give a folder with a complete BERT as "
            "--model.init_args.text."
        )
    # The Trainer would keep the evaluation mode of a loaded model and fine-tune without dropout.
    return model.train()


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide transformers' bar and its report, which lists the unused pooling layer."""
    bar, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _unreachable(name: str, error: Exception) -> UserError:
    return UserError(
        f"The text encoder {name!r} could not be loaded ({first_line(error)}): {DOWNLOAD}, give "
        "the folder as --model.init_args.text and set HF_HUB_OFFLINE=1, or use "
        "--model.init_args.text minilm or small, which need no download."
    )
