"""Text encoders: any BERT-like model of the hub or a folder, or a small one from random weights."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, BertConfig, BertModel

from amif_lightning.errors import UserError


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
                attn_implementation=attention,
            )
            self.bert: Any = BertModel(config, add_pooling_layer=False)
        else:
            self.bert = _load(name, pretrained, attention)
        self.width = int(self.bert.config.hidden_size)
        self.table_size = int(self.bert.config.vocab_size)

    @property
    def word_embedding(self) -> nn.Embedding:
        """The word embeddings alone, without positions (the knowledge vectors are made of them)."""
        embedding: nn.Embedding = self.bert.get_input_embeddings()
        return embedding

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids (B, L) and mask (B, L) -> states (B, L, D)."""
        states: Tensor = self.bert(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return states


def _load(name: str, pretrained: bool, attention: str) -> Any:
    try:
        if pretrained:
            model = AutoModel.from_pretrained(name, attn_implementation=attention)
        else:
            config = AutoConfig.from_pretrained(name)
            model = AutoModel.from_config(config, attn_implementation=attention)
    except (OSError, ValueError) as error:
        raise UserError(
            f"The text encoder {name!r} could not be loaded ({type(error).__name__}): download its "
            "folder on a machine with network and give the folder as --model.init_args.text, or "
            "use --model.init_args.text small, which needs no download."
        ) from error
    if not isinstance(model, BertModel):
        raise UserError(
            f"The text encoder {name!r} is a {type(model).__name__}, not a BERT: the answer decoder "
            "starts from its weights, so choose a BERT-like encoder for --model.init_args.text."
        )
    return model
