"""Personalization: from customer data to consented, tested, explainable e-mail audiences."""

__version__ = "0.1.0"
