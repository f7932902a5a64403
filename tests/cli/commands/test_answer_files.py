"""Result files of other programs, and everything that can be wrong with one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amif_lightning.cli.commands.answer_files import AnswerFile
from amif_lightning.errors import UserError
from amif_lightning.evaluation import EvaluationContext
from tests.callbacks.test_results import facts

Entries = list[dict[str, Any]]
IDS = [f"Toys/test/{number}" for number in (1, 4, 5, 7)]
UNUSED = {"Toys/test/2": "Chinese question"}


def context() -> EvaluationContext:
    """Four questions of a released split of five; one is not used."""
    found = facts()
    rows = dict(zip(IDS, found.rows.values(), strict=True))
    vars(found)["rows"] = rows  # frozen
    return found


def plain() -> Entries:
    """As `predict` writes them."""
    return [{"question_id": name, "image": "a.png", "answer": "Yes."} for name in IDS]


def llava() -> Entries:
    """haotian-liu/LLaVA, llava/eval/model_vqa.py, which LLaVA-Med and others copy."""
    rest = {"prompt": "Is it?", "answer_id": "kUv9", "model_id": "llava", "metadata": {}}
    return [{"question_id": name, "text": "Yes.", **rest} for name in IDS]


def lmms_eval() -> Entries:
    """EvolvingLMMs-Lab/lmms-eval, lmms_eval/loggers/evaluation_tracker.py.

    `save_results_samples` writes `<date>_samples_<task>.jsonl`: `doc_id` counts the rows of the
    split, and the task adds its metrics.
    """
    return [
        {
            "doc_id": position,
            "target": "Yes",
            "filtered_resps": ["Yes."],
            "doc_hash": "74234e98",
            "exact_match": 1.0,
            "input": "<image> Is it?",
        }
        for position in (4, 0, 1, 2, 3)
    ]


def med_eval_kit() -> Entries:
    """alibaba-damo-academy/MedEvalKit, utils/VQA_RAD/VQA_RAD.py and utils/base_dataset.py.

    `results.json` lists the rows of the split in released order, without ids.
    """
    asked = ["What is q0?", "Other?", "what is q1", "What is q2?", "What is q3?"]
    return [
        {"question": text, "answer": "Yes", "response": "Yes.", "correct": True, "metrics": {}}
        for text in asked
    ]


def write(path: Path, entries: Entries) -> AnswerFile:
    """Write JSON lines, or one list into a file that ends in .json."""
    lines = "".join(json.dumps(entry) + "\n" for entry in entries)
    path.write_text(json.dumps(entries) if path.suffix == ".json" else lines)
    return AnswerFile(path)


@pytest.mark.parametrize(
    ("make", "name", "left_out"),
    [
        (plain, "answers.jsonl", []),
        (plain, "answers.json", []),
        (llava, "answers.jsonl", []),
        (lmms_eval, "1_samples_toys.jsonl", ["1 answers are not scored: Chinese question"]),
        (med_eval_kit, "results.json", ["1 answers are not scored: Chinese question"]),
    ],
)
def test_known_layouts(
    make: Callable[[], Entries], name: str, left_out: list[str], tmp_path: Path
) -> None:
    found, sentences = write(tmp_path / name, make()).match(context(), UNUSED, "own")
    assert {question: given.answer for question, given in found.items()} == dict.fromkeys(
        IDS, "Yes."
    )
    assert sentences == left_out


def test_empty_answers_are_answers_and_counted(tmp_path: Path) -> None:
    entries = plain()
    entries[1]["answer"] = "?"
    found, sentences = write(tmp_path / "a.jsonl", entries).match(context(), UNUSED, "own")
    assert found[IDS[1]].answer == "?"
    assert sentences == ["1 answers are empty"]


Change = Callable[[Entries], object]
ALL = "test questions of Toys, layout toy box"


@pytest.mark.parametrize(
    ("make", "name", "change", "sentence"),
    [
        (plain, "a.jsonl", lambda e: e.clear(), "holds no answer"),
        (plain, "a.jsonl", lambda e: e.pop(2), r"lacks .* 1 of 4 questions \(first: 'Toys/test/5'"),
        (plain, "a.jsonl", lambda e: e.append(e[0]), r"'Toys/test/1' twice \(line 1 and line 5\)"),
        (
            plain,
            "a.jsonl",
            lambda e: e[2].update(question_id="SLAKE/test/5"),
            rf"answers 'SLAKE/test/5' \(line 3\), which is none of the {ALL}",
        ),
        (
            plain,
            "a.jsonl",
            lambda e: e[2].update(question_id="Toys/train/5"),
            rf"answers 'Toys/train/5' \(line 3\), which is none of the {ALL}",
        ),
        (llava, "a.jsonl", lambda e: e[0].update(question_id=1), r"answers '1' \(line 1\)"),
        (plain, "a.jsonl", lambda e: e[1].update(answer=None), r"line 2, answer: .* be a text"),
        (plain, "a.jsonl", lambda e: e[1].update(answer="\ud800"), r"line 2, answer: .* a text"),
        (plain, "a.jsonl", lambda e: e[3].pop("answer"), r"has no answer \(line 4\)"),
        (plain, "a.jsonl", lambda e: e[1].update(log_likelihood=0.5), "line 2, log_likelihood: "),
        (plain, "a.jsonl", lambda e: e[1].update(log_likelihood=-1.0), r"only \(not line 1\)"),
        (plain, "a.jsonl", lambda e: e[1].update(images="blank"), r"blank images \(line 2\)"),
        (plain, "a.jsonl", lambda e: e[1].update(question="Who?"), r"question 'Who\?' \(line 2\)"),
        # `answer` may be the reference.
        (plain, "a.jsonl", lambda e: e[0].update(response="no"), "none of the known layouts, "),
        (lmms_eval, "s.jsonl", lambda e: e[0].update(doc_id=5), "answers question 5 of the 5 test"),
        (lmms_eval, "s.jsonl", lambda e: e[1].update(target="no"), r"reference 'no' \(line 2\)"),
        (lmms_eval, "s.jsonl", lambda e: e[1].update(filtered_resps=["a", "b"]), "filtered_resps"),
        (med_eval_kit, "r.json", lambda e: e.pop(1), r"question 'what is q1' \(entry 2\)|'Toys"),
        (med_eval_kit, "r.json", lambda e: e.reverse(), r"'What is q3\?' \(entry 1\) where 'Toys/"),
        (med_eval_kit, "r.json", lambda e: e.append(e[0]), "answers question 5 of the 5 test"),
    ],
)
def test_a_wrong_file_is_one_sentence(
    make: Callable[[], Entries], name: str, change: Change, sentence: str, tmp_path: Path
) -> None:
    entries = make()
    change(entries)
    with pytest.raises(UserError, match=sentence) as caught:
        write(tmp_path / name, entries).match(context(), UNUSED, "own")
    assert str(caught.value).startswith(f"score: {tmp_path / name} ")


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.jsonl", "yes\n", r"cannot be read \(line 1: no JSON object\)"),
        ("a.jsonl", None, "is not there"),
        ("a.json", "{", "is not valid JSON"),
        ("a.json", '{"results": {}}', "is not a list of answers"),
        ("a.json", None, "is not there"),
    ],
)
def test_an_unreadable_file_is_one_sentence(
    name: str, text: str | None, sentence: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=sentence):
        AnswerFile(tmp_path / name)
