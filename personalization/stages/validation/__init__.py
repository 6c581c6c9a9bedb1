"""Landed rows checked by declared rules: valid ones to `landed`, the others to `quarantine` with their reasons."""
