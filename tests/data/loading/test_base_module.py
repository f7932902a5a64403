"""The base of both kinds of data modules: options, tokenizer, loaders, resume and processes."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from amif_lightning.cli.entry import message_of
from amif_lightning.data.loading.base_module import TextDataModule
from amif_lightning.data.loading.samplers import EpochIndexSampler, ShardSampler
from amif_lightning.data.preprocessing.tokenizer import SPECIALS, Tokenizer
from amif_lightning.data.schema.questions import Release
from amif_lightning.data.schema.studies import StudyRelease
from amif_lightning.errors import UserError
from tests.data.loading.recorder import Recorder, SaveAt, Step, ids_of, trainer
from tests.data.tiny_release import TRAIN_COUNTS, Tiny, tiny_release
from tests.data.tiny_studies import TinyStudies

Make = Callable[..., Any]


@pytest.fixture(params=["questions", "studies"])
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def make(kind: str, root: Path, release: Release, studies: StudyRelease) -> Make:
    def made(**options: Any) -> TextDataModule[Any]:
        if kind == "questions":
            return Tiny(root, options.pop("release", release), **options)
        return TinyStudies(root, options.pop("release", studies), **options)

    return made


# ---- options ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (kind, name, value)
        for kind, options in {
            "questions": [
                *(("validation_fraction", 0.0), ("validation_fraction", float("nan"))),
                *(("validation_fraction", 1.0), ("batch_size", 0), ("questions_per_image", 0)),
                *(("eval_batch_size", -1), ("num_workers", -1), ("image_size", 0)),
                *(("max_question_tokens", 2), ("max_answer_tokens", 2), ("vocabulary_size", 0)),
                *(("validation_questions", 0), ("augmentation", "strong"), ("protocol", "honest")),
                *(("test_split", "train"), ("vocabulary", "letters")),
            ],
            "studies": [("max_text_tokens", 2), ("teacher", "wise"), ("batch_size", 0)],
        }.items()
        for name, value in options
    ],
)
def test_bad_options_are_named(make: Make, name: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"{name} is .*{value}.*: give"):
        make(**{name: value})


def test_the_defaults_are_the_papers_size(tmp_path: Path) -> None:
    class Plain(Tiny):
        def __init__(self) -> None:
            super(Tiny, self).__init__(str(tmp_path))  # not Tiny's, which makes everything small

    data = Plain()
    assert (data.image_size, data.batch_size, data.eval_batch_size) == (288, 24, 16)
    assert (data.tokenizer_name, data.augmentation) == ("emilyalsentzer/Bio_ClinicalBERT", "paper")
    assert (data.split_seed, data.validation_fraction, data.seed) == (0, 0.1, 0)

    class PlainStudies(TinyStudies):
        def __init__(self) -> None:
            super(TinyStudies, self).__init__(str(tmp_path))

    assert PlainStudies().augmentation == "paper_pretrain"


# ---- setup ------------------------------------------------------------------------------------


def test_setup_reads_once_and_may_be_called_again(
    root: Path, release: Release, printed: list[str]
) -> None:
    data = Tiny(root, release)
    data.setup("fit")
    parts, tokenizer = data.splits, data.tokenizer
    for stage in ("fit", "validate", "test", "predict"):
        data.setup(stage)
    assert data.reads == 1
    assert data.splits is parts
    assert data.tokenizer is tokenizer
    assert printed == []  # nothing is dropped here


@pytest.mark.parametrize(
    ("kind", "stage", "absent", "message"),
    [
        ("questions", "test", {}, r"no test questions .*the release on disk has no test"),
        ("questions", "predict", {}, "no test questions"),
        ("questions", "test", {"test": "test.json is not there"}, r"test\.json is not there"),
        ("questions", "fit", {}, "no usable training rows"),
        ("studies", "test", {}, r"no test studies that can be used \(none was found\): run"),
        ("studies", "test", {"test": "not released"}, r"test studies .*\(not released\): run"),
        ("studies", "fit", {}, r"no train studies that can be used \(none was found\): run"),
    ],
)
def test_an_empty_split_says_why_and_what_to_do(
    kind: str,
    make: Make,
    release: Release,
    studies: StudyRelease,
    stage: str,
    absent: dict[str, str],
    message: str,
) -> None:
    whole: Any = release if kind == "questions" else studies
    gone = "train" if stage == "fit" else "test"
    splits = {name: rows for name, rows in whole.splits.items() if name != gone}
    data = make(release=dataclasses.replace(whole, splits=splits, absent=absent))
    with pytest.raises(UserError, match=message + ".*audit") as caught:
        data.setup(stage)
    assert "\n" not in str(caught.value)


# ---- tokenizer --------------------------------------------------------------------------------


def test_words_adopts_a_checkpoints_table_without_its_own_texts(make: Make) -> None:
    data = make(tokenizer_corpora=["no/such/file.txt"])
    with pytest.raises(UserError, match="which is not a file"):
        _ = data.tokenizer
    other = Tokenizer.from_texts(["a quite different corpus"]).to_json()
    data.adopt_tokenizer(other)
    assert data.tokenizer.to_json() == other
    assert data.answer_space().tokenizer == other
    batch = next(iter(data.train_dataloader()))
    tokens, text = (
        (batch.question, batch.questions[0])
        if data.kind == "questions"
        else (batch.text, batch.texts[0])
    )
    ids = tokens.ids[0][tokens.mask[0]].tolist()
    assert ids[1:-1] == Tokenizer.from_json(other).pieces(text)


def test_the_table_is_built_from_the_files_named(make: Make, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("entirely other words\n")
    data = make(tokenizer_corpora=[str(tmp_path / "words.txt")])
    assert len(data.tokenizer.pieces("entirely")) == 1
    assert len(make().tokenizer.pieces("entirely")) > 1


def test_a_named_tokenizer_accepts_itself_only(
    root: Path, release: Release, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIALS, "yes", "no"]) + "\n")
    data = Tiny(root, release, tokenizer=str(tmp_path))
    same = data.tokenizer.to_json()
    data.adopt_tokenizer(json.dumps(json.loads(same), indent=1))  # written by another version
    assert data.tokenizer.to_json() == same
    with pytest.raises(UserError, match="give the tokenizer it was trained with") as caught:
        data.adopt_tokenizer(Tokenizer.from_texts([]).to_json())
    assert str(tmp_path) in str(caught.value)
    assert data.tokenizer.to_json() == same


# ---- loaders ----------------------------------------------------------------------------------


def test_the_seed_decides_the_order(make: Make) -> None:
    def order(seed: int) -> list[list[str]]:
        return [ids_of(batch) for batch in make(seed=seed).train_dataloader()]

    assert order(0) == order(0)
    assert order(0) != order(1)


@pytest.mark.parametrize("cuda", [True, False])
def test_batches_are_pinned_if_there_is_a_gpu(
    make: Make, monkeypatch: pytest.MonkeyPatch, cuda: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    data = make()
    assert data.train_dataloader().pin_memory is cuda
    assert data.val_dataloader().pin_memory is cuda


@pytest.mark.parametrize("workers", [0, 1])
def test_cached_images_equal_those_decoded_anew(make: Make, workers: int) -> None:
    # Training decodes larger than validation: one shared cache would reduce validation twice.
    plain = make(augmentation="paper")
    cached = make(augmentation="paper", cache_images=True, num_workers=workers)
    for name in ("train_dataloader", "val_dataloader"):
        kept = getattr(cached, name)()
        for _ in range(2):  # the second pass reads what the first one stored
            for one, other in zip(getattr(plain, name)(), kept, strict=True):
                assert ids_of(one) == ids_of(other)
                for images in ("images",) if plain.kind == "questions" else ("first", "second"):
                    assert torch.equal(getattr(one, images), getattr(other, images))


@pytest.mark.parametrize("stage", ["fit", "test"])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_missing_image_reaches_the_user_as_one_sentence(
    tmp_path: Path, workers: int, stage: str
) -> None:
    release = tiny_release(tmp_path)
    gone = tmp_path / ("train" if stage == "fit" else "test") / "00.png"
    gone.unlink()
    data = Tiny(tmp_path, release, num_workers=workers)
    with pytest.raises(UserError) as caught:
        getattr(trainer(tmp_path), stage)(Recorder(), datamodule=data)
    assert message_of(caught.value) == (
        f"The image {gone} does not exist: check the data set's folder with "
        "`python -m amif_lightning audit`."
    )


# ---- with Lightning ---------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:predict returned None")
def test_lightning_leaves_the_samplers_alone(make: Make, tmp_path: Path) -> None:
    task, data = Recorder(), make()
    running = trainer(tmp_path, limit_val_batches=1.0, max_epochs=1)
    running.fit(task, datamodule=data)
    loaders: Any = running.train_dataloader, running.val_dataloaders
    assert [type(loader.sampler) for loader in loaders] == [EpochIndexSampler, ShardSampler]
    assert sorted(task.seen["validate"]) == sorted(row.row_id for row in data.rows("validation"))
    running.test(task, datamodule=data, verbose=False)
    running.predict(task, datamodule=data)
    rows = sorted(row.row_id for row in data.rows("test"))
    assert sorted(task.seen["test"]) == sorted(task.seen["predict"]) == rows
    controls = rows if data.kind == "questions" else []
    assert sorted(task.seen["control"]) == sorted(task.seen["blank"]) == controls


def test_overfitting_a_batch_repeats_it(root: Path, release: Release) -> None:
    task, data = Recorder(), Tiny(root, release, augmentation="mild", questions_per_image=2)
    with pytest.warns(UserWarning, match="overfit"):
        trainer(root, overfit_batches=1).fit(task, datamodule=data)
    first, *rest = [(ids, pixels) for _, _, ids, pixels in task.trained]
    assert rest == [first, first]


@pytest.mark.ddp
def test_two_processes_share_training_and_score_every_row_once(
    kind: str, make: Make, tmp_path: Path
) -> None:
    # 27 training groups: one is repeated so that both processes take 14. Of ten studies each
    # process takes two full batches of two, and two studies wait.
    size, trained_on, distinct = {"questions": (4, 14, 27), "studies": (2, 4, 8)}[kind]
    data = make(batch_size=size, eval_batch_size=1)
    options: dict[str, Any] = {"strategy": "ddp_fork", "devices": 2, "limit_val_batches": 1.0}
    running = trainer(tmp_path, max_epochs=1, **options)
    running.fit(Recorder(tmp_path), datamodule=data)
    running.test(Recorder(tmp_path), datamodule=data, verbose=False)
    fits, tests = (
        [json.loads((tmp_path / f"{stage}{rank}.json").read_text()) for rank in range(2)]
        for stage in ("fit", "test")
    )
    trained = [[row for _, _, ids, _ in fit["trained"] for row in ids] for fit in fits]
    assert len(trained[0]) == len(trained[1]) == trained_on
    assert len({*trained[0], *trained[1]}) == distinct
    assert {fit["sampler"] for fit in fits} == {"EpochIndexSampler"}
    scored = [(fits, "validate", "validation"), (tests, "test", "test")]
    for found, name, split in [*scored, *([(tests, "control", "test")] * (kind == "questions"))]:
        shares = [rank["seen"][name] for rank in found]
        assert all(shares)
        assert sorted([*shares[0], *shares[1]]) == sorted(row.row_id for row in data.rows(split))
    assert {rank["sampler"] for rank in tests} == {"ShardSampler"}


# ---- resume -----------------------------------------------------------------------------------


def fit(make: Make, folder: Path, workers: int, *saves: SaveAt, **options: Any) -> list[Step]:
    # Two questions an image: 16 groups, 4 steps of an epoch. Ten studies are 2 steps.
    start = options.pop("start", None)
    given = {"num_workers": workers, "augmentation": "mild"}
    data = make()
    if data.kind == "questions":
        given["questions_per_image"] = 2
    task = Recorder()
    running = trainer(folder, *saves, **({"limit_val_batches": 1} | options))
    running.fit(task, datamodule=make(**given), ckpt_path=start)
    return task.trained


@pytest.fixture(scope="module")
def whole_runs() -> dict[str, list[Step]]:
    return {}


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before")
@pytest.mark.parametrize(
    ("kind", "workers", "hook", "step", "options"),
    [
        ("questions", 0, "batch end", 1, {}),
        ("questions", 1, "batch end", 3, {}),
        ("questions", 0, "batch start", 2, {}),  # as a run that is interrupted within a step
        ("questions", 1, "batch start", 6, {}),
        ("questions", 0, "batch end", 4, {}),  # an epoch's last step, before and after it counts
        ("questions", 1, "batch end", 4, {}),
        ("questions", 0, "epoch end", 4, {}),
        ("questions", 1, "epoch end", 8, {}),
        ("questions", 0, "validation end", 4, {}),
        ("questions", 1, "validation end", 6, {"val_check_interval": 2}),
        ("questions", 0, "batch end", 5, {"accumulate_grad_batches": 2}),
        # An epoch that is shorter than the loader.
        ("questions", 0, "epoch end", 3, {"limit_train_batches": 3}),
        ("questions", 1, "batch end", 3, {"limit_train_batches": 3}),
        ("questions", 0, "batch end", 4, {"limit_train_batches": 0.8}),
        ("questions", 1, "epoch end", 4, {"reload_dataloaders_every_n_epochs": 1}),
        ("studies", 0, "batch end", 1, {}),
        ("studies", 1, "batch end", 2, {}),
        ("studies", 1, "batch end", 3, {}),
    ],
)
def test_a_resumed_run_trains_on_exactly_what_was_left(
    kind: str,
    make: Make,
    whole_runs: dict[str, list[Step]],
    tmp_path: Path,
    workers: int,
    hook: str,
    step: int,
    options: dict[str, Any],
) -> None:
    key = f"{kind} {options}"
    if key not in whole_runs:
        whole_runs[key] = fit(make, tmp_path, 0, **options)
    whole = whole_runs[key]
    save = SaveAt(hook, step, tmp_path / "stopped.ckpt")
    fit(make, tmp_path, workers, save, **options, max_steps=step + 1)
    assert save.saved
    rest = fit(make, tmp_path, workers, start=save.path, **options)
    # Epoch, number in the epoch, rows and augmented pixels, in order.
    assert rest == whole[step * options.get("accumulate_grad_batches", 1) :]
    if kind == "questions" and not options:
        every = Counter(question for _, _, ids, _ in whole for question in ids)
        assert set(every.values()) == {3}
        assert len(every) == sum(TRAIN_COUNTS)


def test_workers_do_not_change_a_run(make: Make, tmp_path: Path) -> None:
    assert fit(make, tmp_path, 1) == fit(make, tmp_path, 0)
