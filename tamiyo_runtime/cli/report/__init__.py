"""Self-contained HTML reports: one file, no script, no font or style from elsewhere."""
