"""Deterministic draws: who is in the holdout, which arm of an experiment a customer gets.

A draw is the first 8 bytes, big-endian, of SHA-256 over `salt:customer_token`. Nothing is stored and nothing is random:
the same customer gets the same draw on every machine and in both languages below, and draws under different salts are
independent. Shares are compared as whole numbers of 2**64, so no customer moves by a rounding error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from decimal import Decimal

from sqlglot import exp

METHOD = "sha256/64 of salt:token"  # part of an experiment's protocol: another method would be another experiment
_RANGE = 2**64


def draw(salt: str, token: str) -> int:
    """A whole number in [0, 2**64), uniform over tokens."""
    return int.from_bytes(hashlib.sha256(f"{salt}:{token}".encode()).digest()[:8], "big")


def draw_sql(salt: str, token: str = "customer_token") -> str:
    """The same number as a DuckDB expression over the token column `token`; `salt` becomes a quoted literal."""
    return f"('0x' || substr(sha256({_literal(salt + ':')} || {token}), 1, 16))::ubigint"


def is_held_out(salt: str, share: float, token: str) -> bool:
    """Whether the customer belongs to the share that gets no campaign at all."""
    return draw(salt, token) < _limit(share)


def held_out_sql(salt: str, share: float, token: str = "customer_token") -> str:
    """`is_held_out` as a DuckDB condition."""
    return f"{draw_sql(salt, token)} < {_limit(share)}::hugeint"


def arm_salt(salt: str, version: int) -> str:
    """A new version of a protocol draws anew, so that arms of an earlier version carry nothing over."""
    return f"{salt}/v{version}"


def arm_of(salt: str, version: int, arms: Mapping[str, float], token: str) -> str:
    """The customer's arm: shares are laid end to end in the order written, and the draw falls into one."""
    number = draw(arm_salt(salt, version), token)
    return next(arm for arm, limit in _limits(arms) if number < limit)


def arm_sql(salt: str, version: int, arms: Mapping[str, float], token: str = "customer_token") -> str:
    """`arm_of` as a DuckDB expression."""
    number = draw_sql(arm_salt(salt, version), token)
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
