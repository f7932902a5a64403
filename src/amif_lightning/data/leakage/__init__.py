"""Images that occur in more than one split or data set: hashes, comparison, held-out sets."""
