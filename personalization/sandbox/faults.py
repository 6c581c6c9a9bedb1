"""Scripted faults: what a test tells a sandbox to do wrong, for the next N requests that match."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Kind = Literal[
    "status",  # answer `status`, with `headers` and `body`, without applying the request
    "html",  # answer an HTML page, with `status` (default 200) and the text `body`, without applying it
    "truncated",  # apply it, then break off in the middle of the answer
    "reset",  # close the connection without applying it
    "reset_after",  # apply it, then close the connection without an answer
    "hang_after",  # apply it, then answer only after `seconds`
    "slow",  # wait `seconds`, then apply and answer
    "twice",  # apply it two times, answer once
    "stale",  # answer a read as the same read was answered before: what changed since is not seen yet
]


@dataclass
class Fault:
    """One scripted fault.

    Attributes
    ----------
    kind : str
        What happens; see `Kind`.
    method, path : str
        Regular expressions that the whole method and path (below /3.0) must match; default: any.
    times : int
        How many matching requests it happens to.
    after : int
        How many matching requests pass unharmed first.
    inside : bool
        Applies to the operations inside a batch instead of to requests (`status` only).
    """

    kind: Kind
    method: str = ".*"
    path: str = ".*"
    times: int = 1
    after: int = 0
    inside: bool = False
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    seconds: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"unknown fault '{self.kind}' (known: {', '.join(get_args(Kind))})")
        if self.inside and self.kind != "status":
            raise ValueError("operations inside a batch can only fail with a status")


class Faults:
    """The faults still to happen, in the order they were scripted."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def script(self, fault: Fault) -> None:
        self._waiting.append(fault)

    def clear(self) -> None:
        self._waiting.clear()

    def next(self, method: str, path: str, *, inside: bool = False) -> Fault | None:
        """The fault that happens to this request, if any; it is used up by that."""
        for fault in self._waiting:
            if fault.inside != inside or not re.fullmatch(fault.method, method) or not re.fullmatch(fault.path, path):
                continue
            if fault.after > 0:
                fault.after -= 1
                continue
            fault.times -= 1
            if fault.times == 0:
                self._waiting.remove(fault)
            return fault
        return None
