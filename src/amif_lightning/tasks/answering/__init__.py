"""Parts of `AMiFVQA`: answer decoding, auxiliary alignment, single questions."""

__all__ = ["auxiliary_alignment", "decoding", "single_question"]
