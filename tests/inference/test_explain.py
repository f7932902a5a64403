"""The figure of an answer shows the transport plan of the question's words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from amif_lightning.callbacks.image_figures import HeatMap
from amif_lightning.inference import explain as explaining
from amif_lightning.inference.explain import SIDE, explain
from amif_lightning.inference.occlusion import occlusion
from amif_lightning.losses.transport import TokenTransport
from amif_lightning.models.eval_mode import evaluation_mode
from amif_lightning.tasks import AMiFVQA
from amif_lightning.tasks.answering.single_question import Asked, ask, inputs_of
from tests.inference.conftest import Saved


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("Is there a nodule or an effusion?", ["nodule", "effusion"]),
        ("what is there?", ["what", "is", "there", "?"]),  # nothing but stop words
    ],
)
def test_each_informative_word_has_a_map_of_its_row_of_the_plan(
    saved: Saved,
    restored: AMiFVQA,
    monkeypatch: pytest.MonkeyPatch,
    question: str,
    words: list[str],
) -> None:
    drawn: list[HeatMap] = []
    real = explaining.maps_figure

    def spy(studies: Any, *others: Any) -> Any:
        drawn.extend(studies[0][2])
        return real(studies, *others)

    monkeypatch.setattr(explaining, "maps_figure", spy)
    asked = Asked(saved.data.file_of(saved.data.splits.test[0]), question)
    made = explain(restored, asked, ask(restored, [asked])[0])
    assert made.get_figwidth() * made.dpi > (3 + len(words)) * SIDE
    shown = " ".join(text.get_text() for text in made.axes[0].texts)
    assert "Not for clinical use." in shown
    (best, *_) = ask(restored, [asked])[0].answers
    assert [one.title for one in drawn] == [*words, f"hiding: {best.answer}"]

    inputs = inputs_of(restored, [asked])
    with evaluation_mode(restored):
        encoded = restored.encode_pair(inputs.tokens, inputs.images, inputs.image_index)
    kept = encoded.mask.clone()
    kept[:, 0] = kept[:, -1] = False  # [CLS] and [SEP]
    patches = encoded.patches[:, 1:]
    every = torch.ones(patches.shape[:2], dtype=torch.bool)
    plan, _ = TokenTransport().plan(encoded.words, patches, kept, every)
    pieces = [saved.data.tokenizer.decode([i]) for i in inputs.tokens.ids[0].tolist()]
    for one in drawn[:-1]:
        row = plan[0, pieces.index(one.title)].numpy()
        np.testing.assert_allclose(one.mass, row, atol=1e-9)
    np.testing.assert_allclose(drawn[-1].mass, occlusion(restored, inputs, best.answer), atol=1e-9)


def test_a_task_with_transport_is_drawn_with_its_own_settings(
    saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    restored = AMiFVQA.load_from_checkpoint(
        saved.path, map_location="cpu", transport=0.1, reach=0.5
    )
    asked = Asked(saved.data.file_of(saved.data.splits.test[0]), "is there a nodule?")
    assert restored.transport is not None
    used: list[float | None] = []
    plan = TokenTransport.plan

    def spy(transport: TokenTransport, *given: Tensor) -> tuple[Tensor, Tensor]:
        used.append(transport.reach)
        return plan(transport, *given)

    monkeypatch.setattr(TokenTransport, "plan", spy)
    explain(restored, asked, ask(restored, [asked])[0])
    assert used == [0.5]
