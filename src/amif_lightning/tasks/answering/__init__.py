"""What `AMiFVQA` is made of: answer decoding, auxiliary alignment, single questions."""
