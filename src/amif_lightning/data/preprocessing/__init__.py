"""Pixels and token ids: decoding, transforms, tokenizer, text normalization."""
