"""Segments: who belongs, evaluated in one pass, with entered and exited, and never silently emptied."""
