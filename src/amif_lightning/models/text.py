"""Text encoders: any BERT-like model of the hub or a folder, or a small one from random weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, BertConfig, BertModel

from amif_lightning.errors import UserError, first_line


class TextEncoder(nn.Module):
    """Contextual token states of questions and reports.

    Args:
        name: ``small`` for a random BERT of the sizes below, else a hub name or a local folder.
        pretrained: Whether to load that model's weights or only its configuration.
        width: Width of ``small``.
        layers: Layers of ``small``.
        heads: Attention heads of ``small``.
        table_size: Token slots of ``small``.
        dropout: Dropout probability of ``small``.
        attention: Implementation of attention in transformers (``sdpa`` or ``eager``).

    Raises:
        UserError: If the model cannot be reached or is not BERT-like.
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
                attention_probs_dropout_prob=dropout,
                initializer_range=initializer_range(width),
            )
            self.bert: Any = BertModel(config, add_pooling_layer=False)
        else:
            self.bert = _load(name, pretrained)
        self.bert.set_attn_implementation(attention)
        self.width = int(self.bert.config.hidden_size)
        self.table_size = int(self.bert.config.vocab_size)

    @property
    def word_embedding(self) -> nn.Embedding:
        """The word embeddings alone, which the knowledge vectors are made of."""
        embedding: nn.Embedding = self.bert.get_input_embeddings()
        return embedding

    def words(self, ids: Tensor) -> Tensor:
        """Words before any context: token ids (B, L) -> normalised word embeddings (B, L, D)."""
        words: Tensor = self.bert.embeddings.LayerNorm(self.word_embedding(ids))
        return words

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids (B, L) and mask (B, L) -> states (B, L, D).

        Raises:
            UserError: If the texts are longer than the encoder's position embeddings.
        """
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
    """Standard deviation of random transformer weights.

    BERT's 0.02 suits its width of 768. In narrow layers it passes a fraction of the input on, and a
    decoder then learns to ignore what it should read: at width 128 the network stayed at the
    unconditional answer distribution for hundreds of steps. Below width 512 layers get unit gain.
    """
    return 0.02 if width >= 512 else float(width**-0.5)


def _load(name: str, pretrained: bool) -> BertModel:
    """A BERT without its pooling layer, which nothing here reads and so nothing would train."""
    try:
        config = AutoConfig.from_pretrained(name)
    except Exception as error:  # readers of json and the hub raise their own
        raise _unreachable(name, error) from error
    if not isinstance(config, BertConfig):
        raise UserError(
            f"The text encoder {name!r} is of type {config.model_type!r}, not a BERT: the answer "
            "decoder starts from its weights, so choose a BERT for --model.init_args.text."
        )
    if not pretrained:
        return BertModel(config, add_pooling_layer=False)
    try:
        # Weights are kept in single precision whatever they were stored in: mixed precision casts.
        loaded: Any = BertModel.from_pretrained(
            name,
            config=config,
            add_pooling_layer=False,
            dtype=torch.float32,
            output_loading_info=True,  # gives a pair
        )
    except Exception as error:  # readers of pickles and safetensors raise their own
        raise _unreachable(name, error) from error
    model: BertModel = loaded[0]
    missing = sorted(loaded[1]["missing_keys"])
    if missing:  # transformers would leave them random and warn
        raise UserError(
            f"The text encoder {name!r} has no weights for {len(missing)} parts of a BERT, the "
            f"first being {missing[0]}: give a folder with a complete BERT as "
            "--model.init_args.text."
        )
    # It comes in evaluation mode, which the Trainer keeps: fine-tuning would run without dropout.
    return model.train()


def _unreachable(name: str, error: Exception) -> UserError:
    return UserError(
        f"The text encoder {name!r} could not be loaded ({first_line(error)}): download its folder "
        "on a machine with network and give the folder as --model.init_args.text, or use "
        "--model.init_args.text small, which needs no download."
    )
