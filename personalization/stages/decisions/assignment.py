"""Deterministic draws: who is in the holdout, which arm of an experiment a customer gets.

A draw is the first 8 bytes, big-endian, of SHA-256 over `salt:customer_token`. Nothing is stored and nothing is random:
the same customer gets the same draw on every machine and in both languages below, and draws under different salts are
independent. Shares are compared as whole numbers of 2**64, so no customer moves by a rounding error.

When the token key was replaced, customers have other tokens but stay where they were: the ledger keeps a draw for each
of them under each salt (`Ledger.kept`), which counts instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from decimal import Decimal

from sqlglot import exp

METHOD = "sha256/64 of salt:token"  # part of an experiment's protocol: another method would be another experiment
_RANGE = 2**64
KEPT = "_kept_draws"
"""Where the SQL below looks for kept draws: `salt`, `drawn_for`, `draw`."""
_NONE: Mapping[str, int] = {}


def draw(salt: str, token: str) -> int:
    """A whole number in [0, 2**64), uniform over tokens."""
    return int.from_bytes(hashlib.sha256(f"{salt}:{token}".encode()).digest()[:8], "big")


def draw_sql(salt: str, token: str = "customer_token", *, kept: bool = False) -> str:
    """The same number as a DuckDB expression over the token column `token`; `salt` becomes a quoted literal.

    `kept`: a draw in the table KEPT counts instead.
    """
    drawn = f"('0x' || substr(sha256({_literal(salt + ':')} || {token}), 1, 16))::ubigint"
    if not kept:
        return drawn
    known = f"select k.draw from {KEPT} k where k.salt = {_literal(salt)} and k.drawn_for = {token}"  # noqa: S608
    return f"coalesce(({known}), {drawn})"


def held_out_limit(share: float) -> int:
    """Below which number a draw is in the holdout."""
    return _limit(share)


def arm_limits(arms: Mapping[str, float]) -> list[int]:
    """Below which numbers a draw is in each of the arms, in their order."""
    return [limit for _, limit in _limits(arms)]


def is_held_out(salt: str, share: float, token: str, kept: Mapping[str, int] = _NONE) -> bool:
    """Whether the customer belongs to the share that gets no campaign at all; `kept`: the customer's kept draws."""
    return drawn(salt, token, kept) < _limit(share)


def drawn(salt: str, token: str, kept: Mapping[str, int] = _NONE) -> int:
    """The number that counts for a customer: the kept one, else `draw`."""
    number = kept.get(salt)
    return draw(salt, token) if number is None else number


def held_out_sql(salt: str, share: float, token: str = "customer_token", *, kept: bool = False) -> str:
    """`is_held_out` as a DuckDB condition."""
    return f"{draw_sql(salt, token, kept=kept)} < {_limit(share)}::hugeint"


def arm_salt(salt: str, version: int) -> str:
    """A new version of a protocol draws anew, so that arms of an earlier version carry nothing over."""
    return f"{salt}/v{version}"


def arm_of(salt: str, version: int, arms: Mapping[str, float], token: str, kept: Mapping[str, int] = _NONE) -> str:
    """The customer's arm: shares are laid end to end in the order written, and the draw falls into one."""
    number = drawn(arm_salt(salt, version), token, kept)
    return next(arm for arm, limit in _limits(arms) if number < limit)


def arm_sql(
    salt: str, version: int, arms: Mapping[str, float], token: str = "customer_token", *, kept: bool = False
) -> str:
    """`arm_of` as a DuckDB expression."""
    number = draw_sql(arm_salt(salt, version), token, kept=kept)
    cases = " ".join(f"when {number} < {limit}::hugeint then {_literal(arm)}" for arm, limit in _limits(arms))
    return f"case {cases} end"  # DuckDB computes the repeated draw once


def _limits(arms: Mapping[str, float]) -> list[tuple[str, int]]:
    limits, total = [], Decimal(0)
    for arm, share in arms.items():
        total += Decimal(str(share))
        limits.append((arm, _limit(total)))
    return [*limits[:-1], (limits[-1][0], _RANGE)]  # shares add up to 1 within 1e-9; nobody may fall off the end


def _limit(share: float | Decimal) -> int:
    return int(Decimal(str(share)) * _RANGE)


def _literal(text: str) -> str:
    return exp.Literal.string(text).sql("duckdb")
