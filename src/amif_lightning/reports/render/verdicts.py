"""One sentence per configuration, judged by intervals: are images used, or aligned with reports."""

from __future__ import annotations

from amif_lightning.reports.analysis.groups import AnswerGroup, AnyGroup, SearchGroup
from amif_lightning.reports.analysis.statistics import Estimate
from amif_lightning.reports.render import numbers
from amif_lightning.reports.render.markdown import escaped


def verdict(group: AnyGroup) -> str:
    """Return the sentence: data set, protocol, split, experiment, number of seeds, judgement."""
    where = f"{group.label}, {group.key.experiment}, {numbers.count_of(group.runs)}"
    return escaped(f"{where}: {': '.join(judge(group))}")


def judge(group: AnyGroup) -> tuple[str, str]:
    """Return the claim about a configuration, and the numbers behind it.

    Images are used if two whole 95 % intervals are above zero: the score minus the question-only
    baseline, and minus the score with shuffled images. Images and reports are aligned if the same
    holds for precision, averaged over both directions, minus that of a random order and minus that
    of the best constant ranking.
    """
    searched = group.first.kind == "retrieval"
    if group.count() < numbers.MIN_FOR_PERCENT:
        claim, text = "no verdict", f"{group.count()} studies were searched"
        if not searched:
            text = f"{numbers.share_of(group.right(), group.count())} questions are right"
        text += f", and {numbers.MIN_FOR_PERCENT} {group.first.CASES} are needed."
    else:
        claim, text = _searched(group) if searched else _answered(group)
    return ("UNTRAINED WEIGHTS; " if group.first.untrained else "") + claim, text


def _answered(group: AnswerGroup) -> tuple[str, str]:
    baseline, control = group.above("baseline"), group.above("control")
    assert baseline is not None  # every record has one
    above = f"{_own(group)} is {_side(group, baseline, 'baseline', 'the question-only baseline')}"
    if control is None:
        done = sum(record.control is not None for record in group.records)
        why = "no shuffled-image control was run"
        if done:
            why = f"only {done} of {len(group.runs)} seeds have the shuffled-image control"
        return f"unknown whether the images were used, because {why}", f"{above}."
    if baseline.span is None or control.span is None:
        claim = f"no verdict, because {_why(group, 'images')}"
    elif baseline.span.low > 0 and control.span.low > 0:
        claim = "evidence that the images were used"
    elif control.span.low > 0:
        claim = (
            "the images change the answers, but accuracy is not above the question-only baseline"
        )
    else:
        claim = "no evidence that the images were used"
    shuffled = _side(group, control, "control", "the same network with shuffled images")
    return claim, f"{above} and {shuffled}."


def _searched(group: SearchGroup) -> tuple[str, str]:
    above, own, constant = group.above("baseline"), group.interval(), group.level("control")
    assert above is not None  # every record has one
    score = f"{_own(group)} is {_side(group, above, 'baseline', 'chance')}"
    if above.span is None or own is None or constant is None:
        return f"no verdict, because {_why(group, 'groups of studies')}", f"{score}."
    same = f"the best list that is the same for every query ({numbers.percent(constant)} %)"
    if above.span.low > 0 and own.low > constant:
        more = f"{numbers.percent(group.mean() - constant)} points above {same}"
        return "evidence that image and text were aligned", f"{score} and {more}."
    more = f", but not above {same}" if above.span.low > 0 else ""
    return "no evidence that image and text were aligned", f"{score}{more}."


def _why(group: AnyGroup, clusters: str) -> str:
    return f"{group.missing[0]} is missing" if group.missing else f"there are too few {clusters}"


def _own(group: AnyGroup) -> str:
    span = group.interval()
    interval = "no interval" if span is None else f"95 % interval {numbers.interval(span)}"
    return f"{group.first.MAIN} {numbers.percent(group.mean())} % ({interval})"


def _side(group: AnyGroup, difference: Estimate, measure: str, what: str) -> str:
    """State on which side of a level the score is, with the difference and its interval."""
    span = difference.span
    gap = f"{numbers.percent(abs(difference.value))} points"
    level = f"{numbers.percent(group.level(measure) or 0.0)} %"
    if span is None:
        direction = "below" if difference.value < 0 else "above"
        return f"{gap} (no interval) {direction} {what} ({level})"
    interval = f"95 % interval {numbers.points_interval(span)}"
    if not difference.paired:
        interval += ", the baseline taken as fixed"
    if span.excludes_zero:
        return f"{gap} ({interval}) {'above' if span.low > 0 else 'BELOW'} {what} ({level})"
    return f"not above {what} ({level}; difference {numbers.points(difference.value)}, {interval})"
