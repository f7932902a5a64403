"""Captions from questions and answers: which rows they come from, and which images stay out."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.cli import main
from amif_lightning.cli.data_command import build, data_parser
from amif_lightning.data.leakage.cross_dataset import across
from amif_lightning.data.leakage.held_out import CONTENT, NAME
from amif_lightning.data.loading.base_module import TextDataModule
from amif_lightning.data.schema.question_splits import EvaluationSplit
from amif_lightning.data.schema.questions import Release, SplitName, VQAExample
from amif_lightning.errors import UserError
from amif_lightning.tasks.checkpoints import check_selection
from data_modules import VQARAD, CaptionsFromQA, VQAMed2019
from data_modules.pretrain.captions_from_qa import NO_FILE, caption
from tests.data.leakage.plain_look import look
from tests.data.tiny_release import Tiny, make_rows, tiny_release
from tests.fakes import write_vqa_med_2019, write_vqa_rad

OPTIONS: dict[str, Any] = {
    "tokenizer": "words",
    "num_workers": 0,
    "image_size": 16,
    "batch_size": 4,
    "augmentation": "mild",
}


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return tiny_release(tmp_path)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., CaptionsFromQA]:
    def made(release: Release, *held_out: Tiny, **source: Any) -> CaptionsFromQA:
        kept = str(tmp_path / "hashes")
        return CaptionsFromQA(Tiny(tmp_path, release, **source), list(held_out), kept, **OPTIONS)

    return made


def test_a_caption_holds_each_pair_once_in_released_order(release: Release) -> None:
    row = release.splits["train"][0]
    rows = [
        replace(row, question="Is it CT ?", answer="Yes."),
        replace(row, question="What plane", answer="axial"),
        replace(row, question="Is it CT?", answer="Yes"),
        replace(row, question="Grade (WHO)?", answer="2.5  or 3"),
    ]
    assert caption(rows) == "Is it CT? Yes. What plane? axial. Grade (WHO)? 2.5 or 3."


def test_captions_come_from_clean_training_rows_alone(
    release: Release, make: Callable[..., CaptionsFromQA], printed: list[str]
) -> None:
    # A training row that restates a test question is leaky: another question on the same image.
    test = release.splits["test"][0]
    leak = replace(test, split="train", question_id="Tiny/train/99", answer="leaked answer")
    splits = {**release.splits, "train": (*release.splits["train"], leak)}
    data = make(replace(release, splits=splits))
    data.setup("fit")
    used = (*data.splits.train, *data.splits.validation)
    words = " ".join(row.text for row in used)
    assert "train zone" in words
    assert not any(word in words for word in ("leaked", "test zone", "validation zone"))
    assert len(used) == 10
    assert {row.study_id for row in used} == {f"Tiny/train{i:02d}" for i in range(10)}
    assert len(data.splits.validation) == 1  # a tenth, held out
    by_id = {row.study_id: row for row in used}
    first = [row for row in release.splits["train"] if row.image_key == "train00"]
    assert by_id["Tiny/train00"].text == caption(first)
    assert by_id["Tiny/train00"].images[0].image_id == "Tiny/train/00.png"
    assert printed[:2] == [
        "Tiny: captions from 10 training images' questions and answers",
        "Tiny: 1 questions are in no caption: not clean: equal to a held-out question or its "
        "released rephrase or frame",
    ]


def test_a_held_out_validation_set_is_no_caption(
    release: Release, make: Callable[..., CaptionsFromQA]
) -> None:
    data = make(release, test_split="validation", validation_fraction=0.3)
    held = {row.image_key for row in data.source.splits.validation}
    assert len(held) == 3
    assert all(image.startswith("train") for image in held)
    used = {row.study_id for row in (*data.splits.train, *data.splits.validation)}
    assert used == {f"Tiny/train{i:02d}" for i in range(10)} - {f"Tiny/{image}" for image in held}


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("test_split", ["validation", "test"])
def test_copies_of_held_out_images_are_left_out_and_counted(
    tmp_path: Path,
    release: Release,
    make: Callable[..., CaptionsFromQA],
    printed: list[str],
    split: SplitName,
    test_split: str,
) -> None:
    # Training image 03 is an image of the other split, under another name. The released
    # test split is held out also where the validation split takes its role.
    held = tmp_path / release.splits[split][0].image
    shutil.copy(held, tmp_path / "train" / "03.png")
    data = make(release, test_split=test_split, validation_fraction=0.1)
    data.setup("fit")
    assert ("Tiny/train03", CONTENT) in [
        (row.question_id, row.reason) for row in data.splits.dropped
    ]
    used = {row.study_id for row in (*data.splits.train, *data.splits.validation)}
    assert "Tiny/train03" not in used
    assert f"Tiny: 1 studies dropped: {CONTENT}" in printed


def test_a_held_out_set_keeps_its_images_by_name_and_content(
    tmp_path: Path, release: Release, make: Callable[..., CaptionsFromQA], printed: list[str]
) -> None:
    folder = tmp_path / "other"
    rows: dict[SplitName, tuple[VQAExample, ...]] = {
        "train": tuple(make_rows(folder, "train", [1, 1, 1], seed=7)),
        "test": tuple(make_rows(folder, "test", [1, 1, 1], seed=7)),
    }
    shutil.copy(tmp_path / "train" / "05.png", folder / "test" / "00.png")
    # A training image there: another split seed may hold it out for validation.
    shutil.copy(tmp_path / "train" / "08.png", folder / "train" / "01.png")
    named = replace(rows["test"][1], image="test/scan.png", image_key="x")
    shutil.copy(folder / "test" / "01.png", folder / "test" / "scan.png")
    shutil.move(tmp_path / "train" / "06.png", tmp_path / "train" / "SCAN.PNG")
    train = tuple(
        replace(row, image="train/SCAN.PNG") if row.image_key == "train06" else row
        for row in release.splits["train"]
    )
    other = Tiny(folder, Release("Other", "made", {**rows, "test": (rows["test"][0], named)}))
    alone = replace(release, splits={**release.splits, "train": train})
    data = make(alone, other)
    data.batch_size = 1
    data.setup("fit")
    reasons = {row.question_id: row.reason for row in data.splits.dropped}
    names = dict.fromkeys(("00", "01", "02", "06"), NAME)  # and `scan` is 06
    content = dict.fromkeys(("05", "08"), CONTENT)
    expected = {f"Tiny/train{name}": reason for name, reason in (names | content).items()}
    assert reasons == expected
    assert f"Tiny: 4 studies dropped: {NAME}" in printed
    assert f"Tiny: 2 studies dropped: {CONTENT}" in printed
    found = across(data, [other], look)
    assert found.trained == len({p.image_id for row in data.splits.train for p in row.images})
    assert not any(split.pairs for one in found.held_out for split in one.splits.values())
    assert not found.failed


def test_what_is_missing_is_counted_and_named(
    tmp_path: Path, release: Release, make: Callable[..., CaptionsFromQA], printed: list[str]
) -> None:
    (tmp_path / "train" / "02.png").unlink()
    (tmp_path / "test" / "04.png").unlink()
    make(release).setup("fit")
    assert f"Tiny: 1 studies dropped: {NO_FILE}" in printed
    message = "1 of 9 scored images of Tiny are not on disk and are compared by name only"
    assert f"Tiny: {message}" in printed
    splits = dict(release.splits)
    del splits["test"]
    make(replace(release, splits=splits, absent={"test": "no file"})).setup("fit")
    assert "Tiny: the test images of Tiny are not compared: no file" in printed


def test_equal_captions_are_relevant_to_each_other(
    tmp_path: Path, release: Release, make: Callable[..., CaptionsFromQA]
) -> None:
    data = make(release)
    batches = [*data.train_dataloader(), *data.val_dataloader()]
    texts = {t: r for b in batches for t, r in zip(b.texts, b.relevance.tolist(), strict=True)}
    for batch in batches:
        for text, relevance in zip(batch.texts, batch.relevance.tolist(), strict=True):
            assert texts[text] == relevance
    assert len(set(texts.values())) == len(texts)


def test_a_test_split_and_literature_rows_are_refused(
    release: Release, make: Callable[..., CaptionsFromQA]
) -> None:
    with pytest.raises(UserError, match=r"no test studies .* \(captions are made of training rows"):
        make(release).setup("test")
    with pytest.raises(UserError, match=r"source\.init_args\.protocol clean"):
        make(release, protocol="literature")


def test_both_stages_build_the_same_table_and_hold_out_the_same_rows(
    tmp_path: Path, release: Release, make: Callable[..., CaptionsFromQA]
) -> None:
    data = make(release, split_seed=3)
    later = Tiny(tmp_path, release, split_seed=3)
    assert data.tokenizer.to_json() == later.tokenizer.to_json()
    check_selection(data.answer_space(), later.answer_space(), same_protocol=False)
    other = Tiny(tmp_path, release, split_seed=3, test_split="validation")
    with pytest.raises(UserError, match="trained with test_split test"):
        check_selection(data.answer_space(), other.answer_space(), same_protocol=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Captions of VQA-Med-2019 that hold out VQA-RAD, in short class names."""
    write_vqa_med_2019(tmp_path / "med")
    write_vqa_rad(tmp_path / "rad")
    path = tmp_path / "captions.yaml"
    path.write_text(
        f"""
data:
  class_path: CaptionsFromQA
  init_args:
    source:
      class_path: VQAMed2019
      init_args: {{root: {tmp_path / "med"}, test_split: validation}}
    held_out:
    - class_path: VQARAD
      init_args: {{root: {tmp_path / "rad"}, layout: osf}}
    hashes: {tmp_path / "hashes"}
    image_size: 32
    tokenizer: words
    batch_size: 1
"""
    )
    return path


def test_it_can_be_configured(config: Path) -> None:
    parser = data_parser("prepare teacher", "", TextDataModule)
    words = ["--config", str(config), "--data.source.split_seed", "5"]
    data = build(parser, TextDataModule, words)[0].data
    assert isinstance(data, CaptionsFromQA)
    assert isinstance(data.source, VQAMed2019)
    assert [type(module) for module in data.held_out] == [VQARAD]
    # The source's rows are read and nothing else of it: its size and tokenizer need no repeating.
    assert (data.split_seed, data.source.split_seed) == (5, 5)
    assert (data.image_size, data.tokenizer_name) == (32, "words")
    data.prepare_data()
    counts = Counter(row.reason for row in data.splits.dropped)
    used = len(data.splits.train) + len(data.splits.validation)
    assert used >= 1
    assert used + sum(counts.values()) == len({r.image_key for r in data.source.splits.train})


def test_an_unknown_option_of_the_source_is_one_sentence(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["amif-lightning"])  # Lightning warns where both are given
    config.write_text(config.read_text().replace("test_split:", "test_spilt:"))
    assert main(["fit", "--model=AMiFPretrain", f"--config={config}", "--print_config"]) == 2
    (message,) = capsys.readouterr().err.splitlines()
    assert "test_spilt" in message


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("test_split", "captions", "named", "similar"),
    [("test", 3200, 32, 26), ("validation", 2880, 28, 25)],
)
def test_captions_of_med_2019_hold_out_rad(
    real_data: Path,
    tmp_path: Path,
    printed: list[str],
    test_split: EvaluationSplit,
    captions: int,
    named: int,
    similar: int,
) -> None:
    source = VQAMed2019(str(real_data / "vqa_med_2019"), test_split=test_split)
    held_out = VQARAD(str(real_data / "vqa_rad"), layout="osf")
    data = CaptionsFromQA(source, [held_out], str(tmp_path), **OPTIONS)
    start = time.monotonic()
    data.setup("fit")
    assert time.monotonic() - start < 60
    print(*printed, sep="\n")
    assert printed[0].endswith(f"captions from {captions} training images' questions and answers")
    reasons = {row.question_id: row.reason for row in data.splits.dropped}
    counts = Counter(reasons.values())
    assert (counts[NAME], len(counts)) == (named, 2)
    # Counted; a pair or two lie on the limits, where Pillow's decoder decides.
    assert abs(counts[CONTENT] - similar) <= 2
    trained = {row.image_key for row in source.splits.train}
    theirs = {Path(row.image).stem for rows in held_out.release.splits.values() for row in rows}
    assert {f"VQAMed2019/{name}" for name in trained & theirs} == {
        name for name, reason in reasons.items() if reason == NAME
    }
    # Nothing of what validates or tests under either split of the source is left.
    used = {row.study_id for row in (*data.splits.train, *data.splits.validation)}
    scored = {row.image_key for row in source.release.splits["validation"]}
    scored |= {row.image_key for row in source.splits.validation} | theirs
    assert not used & {f"VQAMed2019/{name}" for name in scored}
    assert len(used) == captions - len(reasons)
