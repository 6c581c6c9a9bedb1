"""What a marketer writes, as typed models: load, check, explain errors by file and line."""

from personalization.program.load import Program, load_program, resolve_secret

__all__ = ["Program", "load_program", "resolve_secret"]
