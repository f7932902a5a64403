"""The card and the evaluation results of a shared model, from the records of its run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from amif_lightning.answer_space import AnswerSpace
from amif_lightning.errors import UserError
from amif_lightning.reports.analysis.groups import AnswerGroup, group_runs
from amif_lightning.reports.records.run import OVERALL
from amif_lightning.reports.records.store import find_records
from amif_lightning.reports.render.markdown import bullets, escaped
from amif_lightning.reports.render.run_info import notes
from amif_lightning.reports.render.tables import answer_table
from amif_lightning.reports.render.verdicts import judge, verdict
from amif_lightning.tasks.answering.doubts import NO_RECORD

#: Question sets that are repositories of the hub; others get no file of results.
ON_HUB = {
    "VQARAD": "flaviagiammarino/vqa-rad",
    "PathVQA": "flaviagiammarino/path-vqa",
    "SLAKE": "BoKelvin/SLAKE",
}
UNSCORED = (
    "Nothing is known of this model's accuracy: its run folder holds no result of this checkpoint. "
    "Run `python -m amif_lightning test` before sharing."
)
_TEXT = """\
{verdicts}

Research software for medical visual question answering. **Not for clinical use**: no answer may
influence a diagnosis or a treatment.

## Use
```python
from amif_lightning.tasks import AMiFVQA

model = AMiFVQA.from_pretrained("{name}")
print(model.answer("scan.png", "which organ is shown?"))
```
On the command line:
`python -m amif_lightning answer --model {name} --image scan.png --question "..."`

## What it is
AMiF (Zou and Yin, CVPR 2025), an independent implementation. The model ranks {candidates} fixed
candidate answers ({answers_from}) and cannot give another answer. It was trained on {trained},
protocol `{protocol}`, with questions of up to {tokens} tokens in the language of that set. Images
of another kind, and questions of another language or topic, get an answer as well; it has no
meaning.

Intended use: research on medical visual question answering, and comparison with other models on the
same questions. The probabilities are relative to the candidates and are not calibrated.

"""


def results_of(checkpoint: Path) -> list[AnswerGroup]:
    """Return the results of a checkpoint, from the records in its folder; empty without one."""
    folder = checkpoint.parent
    if not any(folder.glob("result-*.json")):
        return []
    found = [
        (path, record)
        for path, record in find_records(folder)
        if path.parent == folder and Path(record.checkpoint or "").name == checkpoint.name
    ]
    return group_runs(found)[0]


def doubts_of(checkpoint: Path) -> list[str]:
    """Return the verdicts on a checkpoint unless they are evidence that it used the images."""
    try:
        groups = results_of(checkpoint)
    except UserError as error:
        return [NO_RECORD, str(error)]
    judged = [(group, *judge(group)) for group in groups]
    return [
        f"{group.label}: {claim}: {numbers}"
        for group, claim, numbers in judged
        if not claim.startswith("evidence")
    ] or ([] if groups else [NO_RECORD])


def model_card(name: str, space: AnswerSpace, groups: Sequence[AnswerGroup]) -> str:
    """Write the card (``README.md``): verdict, use, intended use, scores and notes."""
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        library_name="amif_lightning",
        pipeline_tag="visual-question-answering",
        tags=["medical", "visual-question-answering", "amif"],
        datasets=[ON_HUB[g.key.dataset] for g in groups if g.key.dataset in ON_HUB] or None,
    )
    text = _TEXT.format(
        name=name,
        verdicts="\n\n".join(f"**{verdict(group)}**" for group in groups) or f"**{UNSCORED}**",
        candidates=len(space.candidates),
        answers_from=f"answers of {space.answers_from}"
        if space.answers_from
        else "their origin is unknown",
        trained=escaped(str(space.selection.get("dataset") or "unknown data")),
        protocol=space.protocol,
        tokens=space.question_tokens or "an unknown number of",
    )
    parts = [f"---\n{data.to_yaml()}\n---\n# {escaped(name)}\n", text]
    if groups:
        said = [sentence for group in groups for sentence in notes(group)]
        parts.append("\n\n".join([*answer_table(groups).parts, "## Notes", *bullets(said)]))
    return "\n".join(parts).rstrip() + "\n"


def eval_results(groups: Sequence[AnswerGroup]) -> dict[str, str]:
    """Return the hub's ``.eval_results`` files as YAML, by file name: scores of test splits."""
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    files = {}
    for group in groups:
        if group.key.dataset not in ON_HUB or group.key.split != "test":
            continue
        entry = EvalResultEntry(
            dataset_id=ON_HUB[group.key.dataset],
            task_id="default",
            value=round(100 * group.mean(OVERALL), 2),
            date=group.first.finished,
            notes=f"exact match in percent, {group.label}; {verdict(group)}",
        )
        stem = f"{group.key.dataset.lower()}-{group.key.protocol}"
        files[f"{stem}.yaml"] = yaml.safe_dump(
            eval_result_entries_to_yaml([entry]), sort_keys=False
        )
    return files
