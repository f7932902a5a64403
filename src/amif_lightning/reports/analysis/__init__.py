"""Records grouped by configuration, and the statistics of their scores."""
