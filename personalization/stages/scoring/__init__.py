"""Scoring: the chance that a customer buys in the coming weeks, how good that chance is, and what it is made of."""
