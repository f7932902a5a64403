"""Time of scoring every candidate answer of one question: prefix tree and plain batches.

Run ``python benchmarks/ranking.py [--threads 2] [--repeats 3]``. The plain side repeats the fused
tokens for every candidate, pads the answers and runs the decoder in the largest batches that fit 4
GB. Both sides use the same random weights and give the same scores. The candidates are
``ranking_lengths.json`` (see ``ABOUT``); ``--rebuild trainset.json`` writes the file again. The
last line is ``ratio: <plain time / tree time>``.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from torch import Tensor

from amif_lightning.losses.answering import sequence_log_likelihood
from amif_lightning.models.decoder import AnswerDecoder
from amif_lightning.models.ranking import CandidateTree, best, rank, top_k

CANDIDATES = Path(__file__).with_name("ranking_lengths.json")
BOS, EOS = 101, 102  # [CLS] and [SEP] of BERT's vocabularies
FIRST_ID = 1000
PLAIN_BYTES = 4 * 10**9
ABOUT = (
    "Token ids of the 458 most frequent normalised training answers of VQA-RAD's 3064-row file, "
    "most frequent first, without [CLS] and [SEP]. Made by `benchmarks/ranking.py --rebuild` "
    "with an approximate WordPiece: punctuation is separate, words seen at least 3 times in "
    "the training questions and answers are one token, others are cut greedily into the longest "
    "pieces of at most 4 characters that occur in at least 5 different words, else into "
    "characters. Ids are numbered by first use: lengths and shared prefixes are real, the ids "
    "mean nothing elsewhere."
)


@dataclass(frozen=True)
class Size:
    """Sizes; the defaults are the paper's, with Bio_ClinicalBERT's vocabulary."""

    vocab: int = 28996
    width: int = 768
    layers: int = 6
    heads: int = 12
    intermediate: int = 3072
    states: int = 345


@dataclass(frozen=True)
class Result:
    """Median seconds of each side, and the largest difference of their scores."""

    plain: float
    tree: float
    best: float
    batch: int
    nodes: int
    difference: float


def pieces(answers: Sequence[str], texts: Sequence[str]) -> list[list[int]]:
    """Tokenise normalised answers by the approximate WordPiece that ``ABOUT`` describes.

    ``texts`` are the normalised training questions and answers, from which the table is made.
    """
    split = re.compile(r"\w+|[^\w\s]").findall
    words = Counter(word for text in texts for word in split(text))
    # A piece is (starts the word, characters), as WordPiece distinguishes "ab" and "##ab".
    parts = Counter(
        (start == 0, word[start:stop])
        for word in words
        for start in range(len(word))
        for stop in range(start + 2, min(start + 4, len(word)) + 1)
    )
    ids: dict[tuple[bool, str], int] = {}

    def cut(word: str) -> list[tuple[bool, str]]:
        if words[word] >= 3:
            return [(True, word)]
        found, start = [], 0
        while start < len(word):
            stop = next(
                (
                    start + length
                    for length in (4, 3, 2)
                    if start + length <= len(word)
                    and parts[start == 0, word[start : start + length]] >= 5
                ),
                start + 1,
            )
            found.append((start == 0, word[start:stop]))
            start = stop
        return found

    return [
        [
            ids.setdefault(piece, FIRST_ID + len(ids))
            for word in split(answer)
            for piece in cut(word)
        ]
        for answer in answers
    ]


def rebuild(trainset: Path, count: int = 458) -> None:
    """Write the candidate file from VQA-RAD's ``trainset.json``."""
    from amif_lightning.data.preprocessing.normalization import normalise

    rows = json.loads(trainset.read_text(encoding="utf-8"))
    answers = [normalise(str(row["answer"])) for row in rows]
    questions = [normalise(str(row["question"])) for row in rows]
    # Counter keeps first appearance among equal counts, the rule of the candidate list.
    frequent = [answer for answer, _ in Counter(answers).most_common(count)]
    content = {"about": ABOUT, "candidates": pieces(frequent, questions + answers)}
    lines = json.dumps(content, separators=(",", ":")).replace('"candidates":', '\n"candidates":')
    CANDIDATES.write_text(lines + "\n", encoding="utf-8")


def plain_batch(size: Size, longest: int) -> int:
    """Count the candidates whose tiled forward pass fits ``PLAIN_BYTES`` in float32.

    Each needs its states, their keys and values in one layer, and for each token the logits with
    their log-softmax, the feed-forward layer and six hidden vectors.
    """
    token = 2 * size.vocab + size.intermediate + 6 * size.width
    return max(1, PLAIN_BYTES // (4 * (3 * size.states * size.width + longest * token)))


def tiled(
    decoder: AnswerDecoder,
    candidates: Sequence[Sequence[int]],
    states: Tensor,
    states_mask: Tensor,
    batch: int,
) -> Tensor:
    """Compute log-likelihoods (1, N) in the decoder's ordinary forward pass, one row per candidate.

    ``candidates`` are N lists of token ids, ``batch`` of them in one pass. ``states`` (1, S, D) are
    the fused tokens and ``states_mask`` (1, S) is bool. The decoder must be in evaluation mode.
    """
    longest = max(map(len, candidates)) + 1
    rows = torch.tensor([[BOS, *c, EOS] + [0] * (longest - len(c) - 1) for c in candidates])
    mask = torch.arange(longest) < torch.tensor([[len(c) + 1] for c in candidates])
    rows, mask = rows.to(states.device), mask.to(states.device)
    scores = []
    for ids, valid in zip(rows.split(batch), mask.split(batch), strict=True):
        tile = states.expand(len(ids), -1, -1).contiguous()
        logits = decoder(ids[:, :-1], valid, tile, states_mask.expand(len(ids), -1))
        scores.append(sequence_log_likelihood(logits[valid], ids[:, 1:], valid))
    return torch.cat(scores)[None]


def timed(work: Callable[[], Tensor], repeats: int) -> tuple[float, Tensor]:
    """Return the median seconds of ``repeats`` runs after an uncounted one, and the last result."""
    result, seconds = work(), []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


@torch.no_grad()
def measure(candidates: Sequence[Sequence[int]], size: Size, repeats: int) -> Result:
    """Time both sides on one question with random weights and states, ``repeats`` runs each.

    Raises:
        RuntimeError: The two sides differ by more than 1e-4, or ``best`` finds another answer.
    """
    torch.manual_seed(0)
    tree = CandidateTree(candidates, BOS, EOS)
    decoder = AnswerDecoder(
        size.vocab, size.width, size.layers, size.heads, size.intermediate, tree.longest + 1
    ).eval()
    states = torch.randn(1, size.states, size.width)
    mask = torch.ones(1, size.states, dtype=torch.bool)
    batch = min(len(candidates), plain_batch(size, tree.longest + 1))
    plain, expected = timed(lambda: tiled(decoder, candidates, states, mask, batch), repeats)
    ours, scores = timed(lambda: rank(decoder, tree, states, mask), repeats)
    search, first = timed(lambda: best(decoder, tree, states, mask).indices, repeats)
    difference = float((scores - expected).abs().max())
    if difference > 1e-4:
        raise RuntimeError(f"the two sides differ by {difference:.1e}, more than 1e-4")
    if not torch.equal(first, top_k(scores, 1).indices):
        raise RuntimeError("best() finds another answer than the full ranking")
    return Result(plain, ours, search, batch, tree.nodes, difference)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table; the last line is the ratio."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="threads that torch uses")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each side")
    parser.add_argument("--rebuild", type=Path, help="write the candidates from trainset.json")
    options = parser.parse_args(arguments)
    if options.rebuild:
        rebuild(options.rebuild)
    torch.set_num_threads(options.threads)
    candidates = json.loads(CANDIDATES.read_text(encoding="utf-8"))["candidates"]
    size = Size()
    result = measure(candidates, size, options.repeats)
    tokens = sum(len(candidate) + 1 for candidate in candidates)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, CPU, float32")
    print(f"{options.threads} threads, median of {options.repeats} runs, one question, {size}")
    print(f"{len(candidates)} candidates, {tokens} scored tokens, {result.nodes} tree nodes")
    print(f"{'side':<34}{'seconds':>9}")
    print(f"{f'plain, {result.batch} candidates a pass':<34}{result.plain:>9.3f}")
    print(f"{'rank, every candidate':<34}{result.tree:>9.3f}")
    print(f"{'best, top 1 (untrained: worst case)':<34}{result.best:>9.3f}")
    print(f"largest difference of a score: {result.difference:.1e}")
    print(f"ratio: {result.plain / result.tree:.2f}")


if __name__ == "__main__":
    main()
