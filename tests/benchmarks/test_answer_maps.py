"""The measurement of both maps of an answer: which questions count, and a whole run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from amif_lightning.data.schema.questions import VQAExample
from amif_lightning.errors import UserError
from amif_lightning.inference.explain import MEASURED
from amif_lightning.tasks import AMiFVQA
from benchmarks.measures import answer_maps
from benchmarks.measures.answer_maps import asked_findings, main
from data_modules.phantom.module import NAMES, PhantomStudies
from tests.small import SMALL, phantom, trainer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("maps")
    torch.manual_seed(0)
    running = trainer(folder, max_steps=1, limit_val_batches=0)
    running.fit(AMiFVQA(**SMALL), datamodule=phantom(folder / "phantom"))
    running.save_checkpoint(folder / "last.ckpt")
    return folder / "last.ckpt"


def test_questions_name_one_finding_that_their_image_shows(checkpoint: Path) -> None:
    root = checkpoint.parent / "phantom"
    data = phantom(root)
    studies = PhantomStudies(str(root), num_workers=0, tokenizer="words", teacher="none")
    found = asked_findings(data, studies)
    assert found
    chosen = {row.question_id for row, _ in found}
    for row, kind in found:
        assert [k for k, words in NAMES.items() if words & set(_words(row.question))] == [kind]
        assert row.references[0] != "no"
    for row in data.splits.test:  # a finding that the image lacks, or no finding
        if row.question_id not in chosen and row.question_type == "presence":
            assert row.references[0] == "no" or not NAMES.keys() & set(_words(row.question))


def _words(question: str) -> list[str]:
    return question.lower().replace("?", "").replace(",", "").split()


def test_a_run_prints_both_tables(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image, root = checkpoint.parent / "maps.png", checkpoint.parent / "phantom"
    arguments = [f"--ckpt_path={checkpoint}", f"--root={root}", f"--image={image}"]
    with pytest.raises(UserError, match="a trained run as --ckpt_path"):
        main([*arguments, "--questions=0"])

    def every_answer_counts(*given: Any) -> list[tuple[VQAExample, str]]:
        candidates = phantom(root).splits.candidates
        return [(replace(r, references=candidates), k) for r, k in asked_findings(*given)]

    monkeypatch.setattr(answer_maps, "asked_findings", every_answer_counts)
    main([*arguments, "--questions=3"])
    printed = capsys.readouterr().out
    assert "3 questions; left out:" in printed
    for line in ("words of the finding", "answer about the finding", "control: another question"):
        assert line in printed
    assert image.stat().st_size > 1000


def test_the_figure_prints_the_committed_measures() -> None:
    text = (Path(__file__).parents[2] / "docs" / "results" / "answer_maps.txt").read_text("utf-8")
    rows = {"plan": "words of the finding", "hiding": "answer about the finding"}
    for name, row in rows.items():
        (line,) = (line for line in text.splitlines() if line.startswith(row))
        assert f"{float(line[len(row) :].split()[4]):.1f}" == MEASURED[name]
