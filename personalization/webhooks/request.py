"""A webhook request as it came: raw body, headers, address. Nothing in it is believed yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


class NotAuthentic(Exception):
    """The request does not prove where it comes from. The text is ours alone: nothing of the request is in it."""


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """One POST.

    Attributes
    ----------
    body : bytes
        Exactly the bytes that came: signatures are over these.
    headers : sequence of (bytes, bytes)
        Names in lower case, in the order they came, with repetitions (as in ASGI).
    url : str
        The address as the sender sees it: the public one, not that behind a proxy.
    """

    body: bytes
    headers: Sequence[tuple[bytes, bytes]] = ()
    url: str = ""
    _by_name: dict[bytes, list[bytes]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in self.headers:
            self._by_name.setdefault(name, []).append(value)

    def find(self, name: str) -> str | None:
        """The value of a header, None when it is absent.

        Raises
        ------
        NotAuthentic
            It came twice, so that it is not clear which is meant; or it is not ASCII.
        """
        values = self._by_name.get(name.lower().encode())
        if not values:
            return None
        if len(values) > 1:
            raise NotAuthentic(f"the header {name} came {len(values)} times")
        try:
            return values[0].decode("ascii").strip()
        except UnicodeDecodeError:
            raise NotAuthentic(f"the header {name} is not ASCII") from None

    def require(self, name: str) -> str:
        """The value of a header that must be there, once."""
        value = self.find(name)
        if not value:
            raise NotAuthentic(f"the header {name} is missing")
        return value

    def __repr__(self) -> str:
        return f"WebhookRequest({len(self.body)} bytes)"  # never its content
