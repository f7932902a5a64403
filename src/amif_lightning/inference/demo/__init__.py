"""The page of ``demo``, which asks one checkpoint about images."""
