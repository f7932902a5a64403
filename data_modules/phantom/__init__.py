"""Generated thorax phantoms: a data set that exists right after cloning."""
