"""The pages that people meet: preferences, unsubscribe, confirm. Without cookies, without scripts."""

from personalization.serve.pages.routes import routes

__all__ = ["routes"]
