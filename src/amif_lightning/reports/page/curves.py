"""Learning curves out of the event files of run folders, as small SVG pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

#: Curves of a configuration that answered, and of one that searched: tag and title.
ANSWERING = (
    ("val/overall", "accuracy on validation"),
    ("train/answer_loss", "loss of the answers in training"),
    ("val/answer_loss", "loss of the answers on validation"),
)
SEARCHING = (
    ("val/precision@5", "precision@5 on validation"),
    ("train/loss", "loss in training"),
    ("val/teacher_kl", "divergence from the teacher on validation"),
)

WIDTH, HEIGHT = 300, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 10, 30
# After Okabe and Ito; the first is that of the bars.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ("", "6 3", "2 2", "8 3 2 3", "4 4", "1 3")


@dataclass(frozen=True)
class Curve:
    """One seed's values of a tag.

    Attributes:
        seed: The seed.
        points: Pairs (step, value), steps rising; none where the seed has none.
    """

    seed: int
    points: tuple[tuple[int, float], ...]


def read_scalars(folder: Path, tags: Iterable[str]) -> dict[str, tuple[tuple[int, float], ...]]:
    """The values of some tags in a run folder's event files.

    A resumed run left several files; where two hold the same step, the later one counts, as the
    run went on from there.

    Args:
        folder: The run folder.
        tags: The tags.

    Returns:
        Pairs (step, value) by tag, steps rising; tags without values are left out.
    """
    # Lazy: the tables need none of it.
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    wanted = set(tags)
    found: dict[str, dict[int, float]] = {}
    nothing = {"images": 1, "audio": 1, "histograms": 1, "compressedHistograms": 1, "tensors": 1}
    # Names hold the time of their making, so this is the order in which they were written.
    for file in sorted(folder.glob("events.out.tfevents.*")):
        events = EventAccumulator(str(file), size_guidance={"scalars": 0, **nothing})
        events.Reload()
        for tag in wanted.intersection(events.Tags()["scalars"]):
            values = {event.step: event.value for event in events.Scalars(tag)}
            first = min(values, default=0)
            # What an interrupted run did after its last checkpoint was done again.
            kept = {step: v for step, v in found.get(tag, {}).items() if step < first}
            found[tag] = kept | values
    return {tag: tuple(sorted(values.items())) for tag, values in found.items() if values}


def draw_curves(title: str, curves: Sequence[Curve]) -> str:
    """One small picture with a line for each seed.

    Args:
        title: What is drawn, for readers who do not see it.
        curves: One for each seed, in the order of `draw_key`; at least one has points.

    Returns:
        An ``svg`` element whose ink follows the page's colours.
    """
    steps = [step for curve in curves for step, _ in curve.points]
    values = [value for curve in curves for _, value in curve.points]
    last = max(*steps, 1)
    low, high = min(values), max(values)
    margin = 0.05 * (high - low) or max(abs(high) * 0.05, 0.01)
    low, high = low - margin, high + margin
    if min(values) >= 0:
        low = max(low, 0.0)

    def x(step: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * step / last

    def y(value: float) -> float:
        return _TOP + (HEIGHT - _TOP - _BOTTOM) * (high - value) / (high - low)

    parts = []
    for share in (0.0, 0.5, 1.0):
        value = low + share * (high - low)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(value):.1f}" '
            f'y2="{y(value):.1f}"/><text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" '
            f'text-anchor="end">{value:.3g}</text>'
        )
    for share, anchor in ((0.0, "start"), (1.0, "end")):
        parts.append(
            f'<text x="{x(share * last):.1f}" y="{HEIGHT - 10}" text-anchor="{anchor}">'
            f"{round(share * last)}</text>"
        )
    parts.append(f'<text x="{x(last / 2):.1f}" y="{HEIGHT - 10}" text-anchor="middle">step</text>')
    for place, curve in enumerate(curves):
        if not curve.points:
            continue
        colour = COLOURS[place % len(COLOURS)]
        dash = _DASHES[place % len(_DASHES)]
        line = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in curve.points)
        named = f"<title>seed {curve.seed}</title>"
        parts.append(
            f'<polyline points="{line}" stroke="{colour}" stroke-dasharray="{dash}">{named}'
            "</polyline>"
        )
        if len(curve.points) < 8:  # few points are read one by one
            parts += [
                f'<circle cx="{x(step):.1f}" cy="{y(value):.1f}" r="2.5" fill="{colour}"/>'
                for step, value in curve.points
            ]
    words = f"{title}: {'; '.join(_said(curve) for curve in curves if curve.points)}"
    return (
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(words)}">{"".join(parts)}</svg>'
    )


def draw_key(seeds: Sequence[int]) -> str:
    """Which line is which seed, for curves that were drawn in the same order."""
    parts = []
    for place, seed in enumerate(seeds):
        left = 80 * place
        parts.append(
            f'<polyline points="{left},10 {left + 24},10" stroke="{COLOURS[place % len(COLOURS)]}" '
            f'stroke-dasharray="{_DASHES[place % len(_DASHES)]}"/>'
            f'<text x="{left + 30}" y="14">seed {seed}</text>'
        )
    width = 80 * len(seeds)
    return (
        f'<svg class="curve key" viewBox="0 0 {width} 20" width="{width}" height="20" '
        f'aria-hidden="true">{"".join(parts)}</svg>'
    )


def _said(curve: Curve) -> str:
    (first, start), (last, end) = curve.points[0], curve.points[-1]
    return f"seed {curve.seed} from {start:.3g} at step {first} to {end:.3g} at step {last}"
