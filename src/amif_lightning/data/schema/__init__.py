"""Questions, studies and their splits: what trains, what is tested, what counts as right."""
