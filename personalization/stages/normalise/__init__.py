"""Normalise: landed rows to clean marts, by dbt."""
