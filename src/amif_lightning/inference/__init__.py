"""Load a checkpoint without a data set, and explain an answer."""
