"""Images that train here and are scored in another data set."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from amif_lightning.data.leakage import cross_dataset
from amif_lightning.data.leakage.cross_dataset import Across, Extent, shared
from amif_lightning.data.leakage.hash_cache import HashStore
from amif_lightning.data.leakage.held_out import DatasetImages
from amif_lightning.data.leakage.image_hash import Look
from amif_lightning.data.schema.questions import SplitName
from data_modules import VQARAD, CaptionsFromQA, Mixture, VQAMed2019
from tests.data.leakage.plain_look import look
from tests.data.tiny_parts import named_studies, named_tiny, with_copy
from tests.data.tiny_release import Tiny

FACTS = Path(__file__).parents[2] / "facts.yaml"
OPTIONS: dict[str, Any] = {"tokenizer": "words", "num_workers": 0, "image_size": 16}


def across(module: Any, held_out: Sequence[Any], look: Look = look) -> Across:
    return cross_dataset.across(module, held_out, look)


@pytest.fixture
def first(tmp_path: Path) -> Tiny:
    return named_tiny(tmp_path, "First")


@pytest.fixture
def second(tmp_path: Path) -> Tiny:
    return named_tiny(tmp_path, "Second", seed=1)


def test_sets_without_a_shared_image_are_clean(first: Tiny, second: Tiny) -> None:
    absent = replace(second.made, absent={"test": "no file"})
    without = replace(absent, splits={n: r for n, r in absent.splits.items() if n != "test"})
    text = across(first, [Tiny(second.root, without)]).to_text()
    assert "absent: test of Second: no file" in text
    found = across(first, [second])
    assert found.trained == 10
    (one,) = found.held_out
    assert {name: split.images for name, split in one.splits.items()} == {
        "train": 10,
        "validation": 4,
        "test": 5,
    }
    assert not any(split.pairs for split in one.splits.values())
    assert not found.failed
    assert "clean: no trained image found" in found.to_text()


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_copy_of_a_scored_image_fails(first: Tiny, second: Tiny, split: SplitName) -> None:
    row = second.made.splits[split][0]
    with_copy(first, (second, row), place=2)
    found = across(first, [second])
    assert found.failed
    assert found.leaks == 1
    (one,) = found.held_out
    asked = sum(r.image == row.image for r in second.made.splits[split])
    assert one.splits[split].by_content == Extent(1, 1, asked)
    assert one.splits[split].by_name == Extent(0, 0, 0)
    (pair,) = one.splits[split].pairs
    assert (pair.trained, pair.held_out) == ("First/train/first0_02.png", f"Second/{row.image}")
    assert (pair.by_name, pair.by_content, pair.bits) == (False, True, 0)
    assert pair.correlation == pytest.approx(1)
    assert f"{split}: First/train/first0_02.png = Second/{row.image}" in found.to_text()


def test_an_image_of_equal_name_only(tmp_path: Path, first: Tiny, second: Tiny) -> None:
    stem = Path(second.made.splits["test"][0].image).stem.upper()
    with_copy(first, (first, first.made.splits["train"][0]), place=0, as_name=f"train/{stem}.png")
    (one,) = across(first, [second]).held_out
    split = one.splits["test"]
    assert (split.by_name, split.by_content) == (Extent(1, 1, 3), Extent(0, 0, 0))
    assert split.either == split.by_name
    (pair,) = split.pairs
    assert pair.bits is not None  # counted all the same
    assert pair.bits > 40


def test_training_rows_count_apart_and_do_not_fail(first: Tiny, second: Tiny) -> None:
    with_copy(first, (second, second.made.splits["train"][0]), place=1)
    found = across(first, [second])
    assert not found.failed
    assert found.held_out[0].splits["train"].either == Extent(1, 1, 3)
    assert "warning: another split seed holds out other training rows of Second" in found.to_text()


def test_roles_of_splits(second: Tiny, tmp_path: Path) -> None:
    held_out = Tiny(second.root, second.made, test_split="validation", validation_fraction=0.3)
    sizes = {n: len(held_out.images_of(n).files) for n in ("train", "validation", "test")}
    assert sizes == {"train": 7, "validation": 3, "test": 9}  # the released test set stays scored


def test_literature_is_reported_and_no_failure(first: Tiny, second: Tiny) -> None:
    with_copy(first, (second, second.made.splits["test"][0]), place=2)
    leaky = Tiny(first.root, first.made, protocol="literature")
    found = across(leaky, [second])
    assert found.leaks == 1
    assert not found.failed


def test_paths_decide_within_one_data_set(first: Tiny) -> None:
    found = across(first, [first])
    assert not found.failed
    assert found.held_out[0].splits["train"].by_name.trained == 10


def test_studies_train_and_are_held_out(tmp_path: Path, second: Tiny) -> None:
    studies = named_studies(tmp_path, "First")
    row = studies.made.splits["train"][2]
    image = row.images[1]
    image.file.write_bytes(second.file_of(second.made.splits["test"][0]).read_bytes())
    found = across(studies, [second])
    assert found.leaks == 1
    assert found.held_out[0].splits["test"].pairs[0].trained == image.image_id
    other = across(second, [studies])
    assert other.held_out[0].kind == "studies"
    assert not other.leaks  # that study trains, and Second tests on the image
    mixture = Mixture([studies], held_out=[second], hashes=str(tmp_path / "hashes"), **OPTIONS)
    assert not across(mixture, [second]).leaks  # which leaves the study out


def test_captions_that_hold_out_a_set_are_clean(tmp_path: Path, first: Tiny, second: Tiny) -> None:
    for place, split in enumerate(("train", "validation", "test")):
        with_copy(first, (second, second.made.splits[split][0]), place=place)  # type: ignore[index]  # a plain string
    kept = str(tmp_path / "hashes")
    assert across(CaptionsFromQA(first, hashes=kept, **OPTIONS), [second]).leaks == 2
    found = across(CaptionsFromQA(first, [second], kept, **OPTIONS), [second, first])
    assert not found.leaks
    assert not any(split.pairs for split in found.held_out[0].splits.values())


def test_names_cannot_control_the_terminal(tmp_path: Path, second: Tiny) -> None:
    hostile = named_tiny(tmp_path, "First\x1b[2J\u202e\n")
    with_copy(hostile, (second, second.made.splits["test"][0]), place=2)
    found = across(hostile, [second])
    for text in (found.to_text(), found.to_json(), hostile.audit().to_text()):
        assert all(line.isprintable() for line in text.split("\n"))
        assert r"First\u001b[2J\u202e\n" in text


def test_images_that_cannot_be_read_are_counted_and_compared_by_name(
    first: Tiny, second: Tiny
) -> None:
    name = second.made.splits["test"][0].image
    with_copy(first, (second, second.made.splits["test"][0]), place=2, as_name=name)
    second.file_of(second.made.splits["test"][0]).unlink()
    (first.root / name).write_bytes(b"no image")
    found = across(first, [second])
    assert (found.unread, found.held_out[0].unread, found.leaks) == (1, 1, 1)
    assert found.held_out[0].splits["test"].pairs[0].bits is None
    assert "1 trained images cannot be read: compared by name only" in found.to_text()


def test_json_and_a_store_give_the_same(tmp_path: Path, first: Tiny, second: Tiny) -> None:
    with_copy(first, (second, second.made.splits["test"][0]), place=2)
    store = HashStore(tmp_path / "hashes", progress=False)
    found = across(first, [second])
    assert across(first, [second], look=store.look) == found
    fields = json.loads(found.to_json())
    assert (fields["failed"], fields["leaks"]) == (True, 1)
    (pair,) = fields["held_out"][0]["splits"]["test"]["pairs"]
    assert pair["bits"] == 0


@pytest.mark.real_data
def test_what_rad_and_med_share(real_data: Path, tmp_path: Path) -> None:
    facts = yaml.safe_load(FACTS.read_text(encoding="utf-8"))["VQARAD"]
    expected = facts["shared_with_vqa_med_2019"]
    rad = VQARAD(str(real_data / "vqa_rad"), layout="osf")
    med = VQAMed2019(str(real_data / "vqa_med_2019"))
    store = HashStore(tmp_path, progress=False)
    found = across(med, [rad], look=store.look)
    assert found.failed
    start = time.monotonic()
    assert across(med, [rad], look=store.look) == found
    assert time.monotonic() - start < 5  # no image is read again
    every = {s: rad.images_of(s) for s in ("train", "validation", "test")}
    everything = DatasetImages(
        {name: file for one in every.values() for name, file in one.files.items()},
        {
            name: frozenset(i for one in every.values() for i in one.rows.get(name, ()))
            for one in every.values()
            for name in one.rows
        },
    )
    for split in ("train", "validation"):
        trained = med.images_of(split)
        looks = store.look(trained.files), store.look(everything.files)
        images = shared(trained, everything, *looks)
        test = shared(trained, every["test"], *looks)
        assert images.by_name.trained == images.by_name.images == expected[split]["images"]
        assert test.by_name.images == expected[split]["test_images"]
        assert test.by_name.rows == expected[split]["test_questions"]
        assert all(pair.by_content for pair in images.pairs if pair.by_name)
    tested = found.held_out[0].splits["test"]
    assert tested.by_name == Extent(17, 17, 43)


@pytest.mark.real_data
def test_captions_of_med_are_clean_for_rad(real_data: Path, tmp_path: Path) -> None:
    rad = VQARAD(str(real_data / "vqa_rad"), layout="osf")
    med = VQAMed2019(str(real_data / "vqa_med_2019"))
    found = across(CaptionsFromQA(med, [rad], str(tmp_path), **OPTIONS), [rad])
    assert not any(split.pairs for split in found.held_out[0].splits.values())
    assert not found.failed
