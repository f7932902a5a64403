"""Files of data sets before any reader sees them: downloads, archives, checks."""
