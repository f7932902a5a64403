"""Parts of `AMiFVQA`: answer decoding, auxiliary alignment, single questions."""
