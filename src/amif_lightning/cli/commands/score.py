"""``score``: judge the answers of any model, read from a file, as ``test`` judges a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from amif_lightning.cli.commands.answer_files import AnswerFile, Shown
from amif_lightning.cli.data_command import build, data_base, data_parser
from amif_lightning.cli.runs import RunFolder
from amif_lightning.data.preprocessing.normalization import normalise
from amif_lightning.errors import UserError


def main(argv: Sequence[str]) -> int:
    """Run the command with the options after ``score``; returns 0.

    Raises:
        UserError: If an option is wrong, a file of answers does not fit the scored questions, or
            the run folder holds checkpoints.
    """
    base = question_base()
    words = [f"--answers={argv[0]}", *argv[1:]] if argv and argv[0][:1] != "-" else list(argv)
    built, config = build(score_parser(base), base, split_words(words))
    named: dict[Shown, str | None] = {"own": config.answers}
    named |= {"shuffled": config.shuffled, "blank": config.blank}
    files = {images: Path(path) for images, path in named.items() if path is not None}
    if "own" not in files:
        raise UserError("The file of answers is missing: write `score FILE --data CLASS`.")
    module = built.data
    experiment = config.experiment or files["own"].stem
    folder = RunFolder.of(config.runs, experiment, module.protocol, config.seed)
    if folder.checkpoints:
        raise UserError(f"{folder.path} is the folder of a trained run: give another --experiment.")
    if config.html is not None and Path(config.html).suffix != ".html":
        raise UserError(f"--html {config.html} is no page: end its name in .html.")
    read = {images: AnswerFile(path) for images, path in files.items()}
    ready(module)
    facts = module.evaluation_context()
    dropped = {
        row.question_id: row.reason
        for row in module.splits.dropped
        if row.question_id.startswith(f"{facts.dataset}/{facts.split}/")
    }

    from amif_lightning.callbacks.answer_results import Answers, write_test
    from amif_lightning.cli.commands import report
    from amif_lightning.evaluation import Prediction
    from amif_lightning.reports.records import provenance
    from amif_lightning.reports.records.run import Durations, RunRecord
    from amif_lightning.reports.records.store import count_test_run

    answers: dict[Shown, Answers] = {"own": {}, "shuffled": {}, "blank": {}}
    warnings = list(facts.warnings)
    for images, file in read.items():
        matched, sentences = file.match(facts, dropped, images)
        warnings += [f"{files[images].name}: {sentence}" for sentence in sentences]
        for question, one in matched.items():
            row, answer = facts.rows[question], normalise(one.answer)
            answers[images][question] = Prediction(
                question, row["image_key"], answer, one.log_likelihood, answer in row["references"]
            )
    commit, dirty = provenance.git_state()
    run = RunRecord(
        experiment=experiment,
        dataset=facts.dataset,
        layout=facts.layout,
        split=facts.split,
        seed=config.seed,
        test_runs=count_test_run(folder.path, facts.split),
        warnings=tuple(warnings),
        config={"data": config.data.as_dict()} | {f"answers_{k}": v for k, v in named.items()},
        versions=provenance.package_versions(),
        git_commit=commit,
        git_dirty=dirty,
        hardware=provenance.machine(),
        durations=Durations(),
        checkpoint=None,
        finished=provenance.now(),
        untrained=False,
    )
    print(write_test(folder.path, facts, [*answers.values()], run, "file", {}), end="\n\n")
    page = [] if config.html is None else ["--html", config.html]
    return report.main([str(folder.path), *page])


def score_parser(base: type) -> ArgumentParser:
    """Build the parser of ``score``."""
    parser = data_parser(
        "score",
        "Judge the answers of any model to the questions of a data set: write the records of a "
        "test, and print baselines, intervals and the verdict. `report` compares several.",
        base,
    )
    add = parser.add_argument
    about = "JSON lines, or results of LLaVA, lmms-eval or MedEvalKit"
    add("--answers", type=str, help=f"The answers: {about}. `score FILE` is short for it.")
    add("--shuffled", type=str, help="Answers of the same model with shuffled images.")
    add("--blank", type=str, help="Answers of the same model with blank images.")
    add_split(parser)
    add("--experiment", type=str, help="Name of the model in reports; default: that of FILE.")
    add("--seed", type=int, default=0, help="Distinguishes several answers of one model.")
    add("--runs", type=str, default="runs", help="Folder of the run folders.")
    add("--html", type=str, help="Also write the report as one page, with sample images.")
    return parser


def question_base() -> type:
    """Import all data modules, and return the base class of questions."""
    data_base()
    from amif_lightning.data.loading.vqa_module import VQADataModule

    return VQADataModule


def add_split(parser: ArgumentParser) -> None:
    """Add the option that :func:`split_words` replaces, for the help."""
    parser.add_argument("--split", type=str, help="Short for --data.test_split: test, validation.")


def split_words(argv: Sequence[str]) -> list[str]:
    """Replace ``--split`` by the option of the data class."""
    words = []
    for word in argv:
        option, equals, value = word.partition("=")
        words.append(f"--data.test_split{equals}{value}" if option == "--split" else word)
    return words


def ready(module: Any) -> None:
    """Unpack or generate the data if needed, and check that there are questions to score."""
    module.prepare_data()
    module.setup("test")
