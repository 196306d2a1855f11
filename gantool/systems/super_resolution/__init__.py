"""Super-resolution systems: one file per paper."""
