"""Exact log-likelihood of every candidate answer, and a search for the best k candidates.

Candidates form a prefix tree. A node is a prefix and its incoming edge a token, so the decoder
processes a shared prefix once. A candidate's score is the sum of log p over its edges and its end
token, as in :func:`amif_lightning.losses.answering.sequence_log_likelihood`.

The nodes of a question are packed into one row. A node's position id is its depth. A 4-D mask
limits its attention to its ancestors, as in a separate sequence. Cross-attention keys and values
are computed once per question and not copied per candidate.

B questions, N candidates, M tree nodes, S fused tokens, D width, K tokens that the decoder scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from amif_lightning.models.decoder import AnswerDecoder

# Elements of a slice of logits (16 MB of float32): of 2**18 .. 2**26 the fastest on CPU at width
# 128 and within 8 % of the fastest at width 768; larger slices exceed the processor's caches.
_LOGITS = 1 << 22


class CandidateTree:
    """Prefix tree over tokenised candidates, nodes in depth-first order.

    ``candidates`` are N lists of token ids without beginning and end tokens. Equal lists share
    their nodes; an empty list is the empty answer. ``bos`` is the id of the beginning token, the
    root; ``eos`` that of the end token. ``nodes`` M is the number of prefixes.

    Raises:
        ValueError: No candidates, or the end token inside one.
    """

    def __init__(self, candidates: Sequence[Sequence[int]], bos: int, eos: int) -> None:
        if not candidates:
            raise ValueError("no candidate answers: ranking needs at least one")
        self.bos, self.eos = bos, eos
        met: dict[tuple[int, ...], int] = {}  # prefixes in order of appearance
        for i, candidate in enumerate(candidates):
            if eos in candidate:
                raise ValueError(f"candidate {i} contains the end token {eos}: {candidate}")
            for length in range(len(candidate) + 1):
                met.setdefault(tuple(candidate[:length]), len(met))
        ancestors = {prefix: [prefix[:n] for n in range(len(prefix) + 1)] for prefix in met}
        # Depth-first order, children in order of appearance.
        prefixes = sorted(met, key=lambda prefix: [met[above] for above in ancestors[prefix]])
        node = {prefix: place for place, prefix in enumerate(prefixes)}
        # Most tokens of a candidate, without beginning and end tokens.
        self.longest = max(map(len, candidates))
        # (M,) token and parent of each node; node 0 is the root and its own parent.
        self.tokens = torch.tensor([prefix[-1] if prefix else bos for prefix in prefixes])
        self.parent = torch.tensor([node[prefix[:-1]] for prefix in prefixes])
        # (N,) last node of each candidate, and its scored tokens, including the end token.
        self.terminal = torch.tensor([node[tuple(candidate)] for candidate in candidates])
        self.lengths = torch.tensor([len(candidate) + 1 for candidate in candidates])
        self.depth = torch.tensor([len(prefix) for prefix in prefixes])  # (M,) 0 at the root
        # (M, longest + 1) ancestor at each depth; from the node's depth on, the node itself.
        paths = [[node[above] for above in ancestors[prefix]] for prefix in prefixes]
        full = self.longest + 1
        self.path = torch.tensor([path + path[-1:] * (full - len(path)) for path in paths])
        # (M - 1,) nodes in order of their parents; node m's are first_child[m]:first_child[m+1].
        self.children = 1 + self.parent[1:].sort(stable=True).indices
        self.first_child = _offsets(self.parent[1:], self.nodes)  # (M + 1,)
        # (N,) candidates in order of their last nodes; m's are first_ending[m]:first_ending[m+1].
        self.ending = self.terminal.sort(stable=True).indices
        self.first_ending = _offsets(self.terminal, self.nodes)  # (M + 1,)

    def __len__(self) -> int:
        return len(self.terminal)

    @property
    def nodes(self) -> int:
        """Return the number M of distinct prefixes, including the empty one."""
        return len(self.tokens)

    def to(self, device: torch.device | str) -> CandidateTree:
        """Copy the tree to a device."""
        tree = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(tree, name, value.to(device))
        return tree


class Best(NamedTuple):
    """Best candidates of each question: ``scores`` (B, k), descending, and ``indices`` (B, k)."""

    scores: Tensor
    indices: Tensor


def top_k(scores: Tensor, k: int) -> Best:
    """Select the k highest of scores (B, N); unlike ``torch.topk``, ties keep candidate order."""
    ordered = scores.sort(dim=1, descending=True, stable=True)
    return Best(ordered.values[:, :k], ordered.indices[:, :k])


@torch.no_grad()
def rank(
    decoder: AnswerDecoder,
    tree: CandidateTree,
    states: Tensor,
    states_mask: Tensor,
    length_penalty: float = 0.0,
    max_nodes: int = 256,
) -> Tensor:
    """Compute the exact log-likelihoods (B, N) of all candidates, float32, in candidate order.

    Args:
        decoder: The decoder, in evaluation mode.
        tree: The candidates, on the decoder's device.
        states: (B, S, D) fused tokens.
        states_mask: (B, S) bool, True at valid tokens.
        length_penalty: p; scores are divided by (number of scored tokens)**p.
        max_nodes: Most new tree nodes per question in one pass, to limit memory. Each pass also
            processes the ancestors of its first node.

    Raises:
        ValueError: The decoder is in training mode.
        FloatingPointError: A logit is not finite.
    """
    decoder.check_evaluation_mode()
    scored, eos = decoder.columns_of(tree.tokens), decoder.column_of(tree.eos)
    edge = states.new_zeros((len(states), tree.nodes), dtype=torch.float32)
    end = torch.zeros_like(edge)
    cross = DynamicCache()
    for start in range(0, tree.nodes, max_nodes):
        stop = min(start + max_nodes, tree.nodes)
        # In depth-first order these nodes' ancestors are among them or ancestors of the first.
        above = tree.path[start, : int(tree.depth[start])]
        nodes = torch.cat([above, torch.arange(start, stop, device=above.device)])
        path = tree.path[nodes]
        column = torch.where(path < start, tree.depth[path], path - start + len(above))
        sees = torch.zeros(len(nodes), len(nodes), dtype=torch.bool, device=nodes.device)
        sees.scatter_(1, column, True)
        hidden = decoder.hidden(
            tree.tokens[nodes].expand(len(states), -1),
            states,
            states_mask,
            mask=sees[None, None],
            positions=tree.depth[nodes][None],
            # A new self-attention cache for every pass; the cross-attention cache is filled once.
            cache=EncoderDecoderCache(DynamicCache(), cross),
        )
        new = hidden[:, len(above) :]
        for rows, logits, total in _logits(decoder, new, dim=1):
            first, last = start + rows.start, start + rows.stop
            end[:, first:last] = logits[..., eos].float() - total
            bounds = tree.first_child[[first, last]].tolist()
            child = tree.children[bounds[0] : bounds[1]]
            source = tree.parent[child] - first
            edge[:, child] = logits[:, source, scored[child]].float() - total[:, source]
    # Rounding may raise a log-probability above 0 by an ulp.
    edge.clamp_(max=0.0)
    score = torch.zeros_like(edge)
    for depth in range(1, tree.longest + 1):
        level = (tree.depth == depth).nonzero().squeeze(1)
        score[:, level] = score[:, tree.parent[level]] + edge[:, level]
    score = (score + end.clamp_(max=0.0))[:, tree.terminal]
    return score / tree.lengths.float() ** length_penalty if length_penalty else score


@torch.no_grad()
def best(
    decoder: AnswerDecoder,
    tree: CandidateTree,
    states: Tensor,
    states_mask: Tensor,
    k: int = 1,
    max_prefixes: int = 64,
) -> Best:
    """Find the k candidates (1 <= k <= N) of highest log-likelihood by best-first search.

    Log p only decreases along a prefix. A prefix below the k-th best complete answer cannot lead to
    a better one and is not expanded, so the result equals :func:`top_k` of :func:`rank` up to
    float32 rounding. Each round expands the most probable open prefixes of every question: at most
    1, then 2, 4 and so on up to ``max_prefixes``. A confident decoder needs a few rounds; a nearly
    uniform one may expand most of the tree. There is no length penalty, because a score divided by
    its length can increase along a prefix. Other arguments and errors are those of :func:`rank`.
    """
    decoder.check_evaluation_mode()
    search = _Search(decoder, tree, states, states_mask)
    width = 1
    while search.select(k, min(width, max_prefixes)):
        search.expand()
        width *= 2
    return top_k(search.results, k)


class _Search:
    """State of a best-first search; A questions are still open, each with C cached nodes."""

    def __init__(
        self, decoder: AnswerDecoder, tree: CandidateTree, states: Tensor, states_mask: Tensor
    ) -> None:
        batch, device = len(states), states.device
        self.decoder, self.tree = decoder, tree
        self.states, self.states_mask = states, states_mask
        self.scored, self.eos = decoder.columns_of(tree.tokens), decoder.column_of(tree.eos)
        self.cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        lowest = float("-inf")
        # Not the default type, which is bfloat16 under `bf16-true`.
        full = partial(torch.full, dtype=torch.float32, device=device)
        self.results = full((batch, len(tree)), lowest)  # (B, N), when done
        self.question = torch.arange(batch, device=device)  # (A,) row in results
        self.complete = self.results.clone()  # (A, N) scores of the complete candidates
        self.frontier = full((batch, tree.nodes), lowest)  # (A, M) log p of open nodes
        self.frontier[:, 0] = 0.0
        # (A, M + 1) cache column of each expanded node; padding writes to the last entry.
        self.column = torch.zeros((batch, tree.nodes + 1), dtype=torch.long, device=device)
        self.node = self.column[:, :0]  # (A, E) nodes to expand in this round
        self.open = self.node.bool()  # (A, E) False at padding
        self.score = self.frontier[:, :0]  # (A, E) their log p

    def select(self, k: int, width: int) -> bool:
        """Choose at most ``width`` prefixes of each question; return False if none is left."""
        bound = self.complete.topk(k).values[:, -1:]  # -inf until k answers are complete
        self.score, self.node = self.frontier.topk(min(width, self.tree.nodes))
        # ">=" and not ">": an equal prefix can lead to a tie that comes first in order.
        self.open = (self.score >= bound) & (self.score > float("-inf"))
        counts = self.open.sum(1)
        live = counts > 0
        rows, widest = int(live.sum()), int(counts.max())
        if 2 * rows <= len(live):  # cheaper than keeping finished questions
            self._keep(live)
        self.score, self.node, self.open = (
            x[:, :widest] for x in (self.score, self.node, self.open)
        )
        return rows > 0

    def _keep(self, live: Tensor) -> None:
        """Store the results of finished questions and drop their rows."""
        self.results[self.question] = self.complete
        rows = live.nonzero().squeeze(1)
        for name in (
            *("states", "states_mask", "question", "complete", "frontier", "column"),
            *("score", "node", "open"),
        ):
            setattr(self, name, getattr(self, name)[rows])
        self.cache.batch_select_indices(rows)

    def expand(self) -> None:
        """Score the children of the selected prefixes and the answers that end there."""
        tree, (rows, width) = self.tree, self.node.shape
        seen = self.cache.get_seq_length()
        columns = torch.arange(seen, seen + width, device=self.node.device).expand(rows, -1)
        self.column.scatter_(1, self.node.where(self.open, tree.nodes), columns)
        # Padding repeats the root, and nothing attends to it.
        node = self.node.where(self.open, 0)
        visible = self.column.gather(1, tree.path[node].flatten(1)).view(rows, width, -1)
        sees = torch.zeros(rows, width, seen + width, dtype=torch.bool, device=node.device)
        sees.scatter_(2, visible, True)
        hidden = self.decoder.hidden(
            tree.tokens[node],
            self.states,
            self.states_mask,
            mask=sees[:, None],
            positions=tree.depth[node],
            cache=self.cache,
        )
        row, slot = self.open.nonzero(as_tuple=True)
        node, score = self.node[row, slot], self.score[row, slot]
        self.frontier[row, node] = float("-inf")
        for part, logits, total in _logits(self.decoder, hidden[row, slot], dim=0):
            here, at, before = row[part], node[part], score[part]
            ends = (logits[:, self.eos].float() - total).clamp_(max=0.0)
            pair, candidate = _ragged(at, tree.first_ending, tree.ending)
            self.complete[here[pair], candidate] = (before + ends)[pair]
            pair, child = _ragged(at, tree.first_child, tree.children)
            step = logits[pair, self.scored[child]].float() - total[pair]
            self.frontier[here[pair], child] = before[pair] + step.clamp_(max=0.0)


def _logits(
    decoder: AnswerDecoder, hidden: Tensor, dim: int
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield slices of dimension ``dim``, their logits (.., K) and float32 log normalisers (..)."""
    others = hidden.numel() // (hidden.shape[dim] * hidden.shape[-1])
    size = max(1, _LOGITS // (others * decoder.outputs))
    for start in range(0, hidden.shape[dim], size):
        rows = slice(start, min(start + size, hidden.shape[dim]))
        logits = decoder.logits(hidden.narrow(dim, start, rows.stop - start))
        total = logits.float().logsumexp(-1)
        if not bool(total.isfinite().all()):
            raise FloatingPointError(
                "the answer decoder's scores are not finite: training diverged"
            )
        yield rows, logits, total


def _ragged(at: Tensor, first: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """Concatenate ``items[first[m]:first[m+1]]`` over m in ``at``; also return each item's row."""
    counts = first[at + 1] - first[at]
    pair = torch.arange(len(at), device=at.device).repeat_interleave(counts)
    before = counts.cumsum(0) - counts
    return pair, items[torch.arange(len(pair), device=at.device) + (first[at] - before)[pair]]


def _offsets(owner: Tensor, owners: int) -> Tensor:
    """Return the offsets (owners + 1,) of each owner's items, which are sorted by owner."""
    counts = torch.bincount(owner, minlength=owners)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
