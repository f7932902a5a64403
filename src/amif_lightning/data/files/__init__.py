"""Files before any reader sees them: downloads, archives, tables, atomic writes."""
