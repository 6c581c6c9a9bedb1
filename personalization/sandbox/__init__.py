"""Stateful stand-ins for platforms' APIs on this machine, for demos and tests. They send nothing anywhere."""

from personalization.sandbox.server import Sandbox, run_sandbox, serve

__all__ = ["Sandbox", "run_sandbox", "serve"]
