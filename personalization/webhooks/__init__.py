"""Webhooks: who sent a request, which events are in it, and what they mean. Knows nothing of HTTP servers or stages."""
