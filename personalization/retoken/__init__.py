"""Puts tokens outside the ledger under another token key: files and warehouse. Knows nothing of stages."""
