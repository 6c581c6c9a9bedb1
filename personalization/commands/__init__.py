"""The groups of commands of `personalization`, a module each."""
