"""Tokenizers of text encoders, or ``words``: a fixed table built from training texts.

The table has 4096 slots: specials, all characters, then words by count and alphabet. Unlike
``WordPieceTrainer``'s it is deterministic, and its size does not depend on the data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer as FastTokenizer
from tokenizers import models, normalizers, pre_tokenizers
from tokenizers.decoders import WordPiece as WordPieceDecoder

from amif_lightning.errors import UserError, first_line
from amif_lightning.hub import DOWNLOAD, use_cache_if_unreachable
from amif_lightning.models.packages import packaged

TABLE_SIZE = 4096
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class Tokenizer:
    """BERT-like WordPiece tokenizer, stored as one string; requires [PAD], [CLS] and [SEP]."""

    def __init__(self, fast: FastTokenizer) -> None:
        fast.no_padding()
        fast.no_truncation()
        # A literal "[SEP]" in a text is encoded as text, so that it does not end an answer.
        fast.encode_special_tokens = True
        self._fast = fast
        ids: dict[str, int] = fast.get_vocab()
        if missing := [name for name in ("[PAD]", "[CLS]", "[SEP]") if name not in ids]:
            raise UserError(
                f"The tokenizer has no {', '.join(missing)}: give --data.init_args.tokenizer the "
                "folder of a BERT-like text encoder, or `words`."
            )
        self.pad_id, self.cls_id, self.sep_id = ids["[PAD]"], ids["[CLS]"], ids["[SEP]"]
        self.unk_id: int | None = fast.token_to_id("[UNK]")

    def __reduce__(self) -> tuple[Callable[[str], Tokenizer], tuple[str]]:
        # The library's own pickling loses encode_special_tokens.
        return Tokenizer.from_json, (self.to_json(),)

    @classmethod
    def from_json(cls, text: str) -> Tokenizer:
        """Load a tokenizer from :meth:`to_json`; a UserError if the text is of another kind."""
        try:
            fast = FastTokenizer.from_str(text)
        except Exception as error:  # the library raises bare Exceptions
            raise UserError(
                f"The checkpoint's tokenizer cannot be read ({first_line(error)}): give a "
                "checkpoint that `fit` wrote."
            ) from error
        return cls(fast)

    @classmethod
    def from_texts(cls, texts: Iterable[str], size: int = TABLE_SIZE) -> Tokenizer:
        """Build the fixed table from texts, in any order.

        Raises:
            UserError: If the texts contain more characters than the table has slots for.
        """
        lower = normalizers.BertNormalizer(lowercase=True)
        split = pre_tokenizers.BertPreTokenizer()
        words: Counter[str] = Counter()
        for text in texts:
            clean = lower.normalize_str(text)
            words.update(word for word, _ in split.pre_tokenize_str(clean))
        ascii_characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
        others = sorted({c for word in words for c in word} - set(ascii_characters))
        characters = ascii_characters + others
        entries = [*SPECIALS, *characters, *(f"##{c}" for c in characters)]
        if len(entries) > size:
            raise UserError(
                f"The texts contain {len(characters)} different characters, more than a table of "
                f"{size} slots can take: name fewer texts in --data.init_args.tokenizer_corpora, "
                "or give a folder as --data.init_args.tokenizer."
            )
        known = set(entries)
        ranked = sorted(words, key=lambda word: (-words[word], word))
        entries += [word for word in ranked if word not in known][: size - len(entries)]
        entries += [f"[unused{slot}]" for slot in range(len(entries), size)]
        fast = FastTokenizer(
            models.WordPiece({e: i for i, e in enumerate(entries)}, unk_token="[UNK]")
        )
        fast.normalizer = lower
        fast.pre_tokenizer = split
        fast.decoder = WordPieceDecoder()
        fast.add_special_tokens(list(SPECIALS))
        return cls(fast)

    @classmethod
    def from_pretrained(cls, name: str) -> Tokenizer:
        """Load a text encoder's tokenizer from the hub, a folder, or for ``minilm`` its package.

        Raises:
            UserError: If it cannot be loaded or is of another kind.
        """
        from transformers import AutoTokenizer

        packed = name == "minilm"
        if not packed:
            use_cache_if_unreachable(name)
        source = packaged(name) if packed else name
        try:
            loaded = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            fast = FastTokenizer.from_str(loaded.backend_tokenizer.to_str())
        except Exception as error:  # the tokenizers library raises bare Exceptions
            raise UserError(
                f"The tokenizer {name!r} could not be loaded ({type(error).__name__}): "
                f"{DOWNLOAD}, give the folder as --data.init_args.tokenizer and set "
                "HF_HUB_OFFLINE=1, or use --data.init_args.tokenizer minilm or words, which need "
                "no download."
            ) from error
        # A BERT folder without a vocabulary loads silently with special tokens only.
        if fast.get_vocab_size() <= len(loaded.all_special_ids):
            raise UserError(
                f"The tokenizer {name!r} has no words: its folder needs tokenizer.json or "
                "vocab.txt, so copy that file there too."
            )
        return cls(fast)

    @property
    def table_size(self) -> int:
        """Number of slots."""
        return int(self._fast.get_vocab_size())

    def to_json(self) -> str:
        """Return the whole tokenizer as JSON text."""
        return str(self._fast.to_str())

    def pieces(self, text: str) -> list[int]:
        """Return the ids of a text without [CLS] and [SEP]."""
        return list(self._fast.encode(text, add_special_tokens=False).ids)

    def encode(self, text: str, limit: int) -> list[int]:
        """Return ``[CLS] text [SEP]``, truncated to at most ``limit`` ids (2 or more)."""
        return [self.cls_id, *self.pieces(text)[: limit - 2], self.sep_id]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids without special tokens."""
        return str(self._fast.decode(list(ids), skip_special_tokens=True))

    def fits(self, text: str, limit: int) -> bool:
        """Return whether ``encode`` keeps the whole text."""
        return len(self.pieces(text)) + 2 <= limit

    def warnings(self, text: str, limit: int) -> list[str]:
        """Return a sentence for truncated tokens, and one for unknown words, if there are any."""
        pieces = self.pieces(text)
        cut, unknown = len(pieces) + 2 - limit, pieces.count(self.unk_id or -1)
        found = [f"the last {cut} tokens of the question were not read"] if cut > 0 else []
        return found + ([f"{unknown} words of the question are unknown"] if unknown else [])


def corpus_texts(entries: Sequence[str], own: Iterable[str]) -> list[str]:
    """Read the texts of the option ``tokenizer_corpora``.

    The entry ``train`` gives ``own``; others are files with one text per line. Missing files and
    files that are not text raise a UserError.
    """
    texts: list[str] = []
    for entry in entries:
        if entry == "train":
            texts += own
            continue
        if not Path(entry).is_file():
            raise UserError(
                f"tokenizer_corpora names {entry}, which is not a file: give text files with one "
                "text a line, or `train`."
            )
        try:
            texts += Path(entry).read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise UserError(
                f"tokenizer_corpora names {entry}, which is not UTF-8 text: save it as UTF-8 with "
                "one text a line."
            ) from error
    return texts
