"""A form as a browser without scripts fills it in and sends it."""

from __future__ import annotations

from html.parser import HTMLParser


class Form(HTMLParser):
    """The form of a page that has a button with this value."""

    def __init__(self, text: str, button: str) -> None:
        super().__init__()
        self._button, self._found = button, False
        self._current: list[tuple[str, str, str, bool]] = []
        self.fields: list[tuple[str, str, str, bool]] = []
        self.feed(text)
        assert self._found, f"no form has the button '{button}'"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._current = []
        elif tag == "input" and "disabled" not in values:
            kind = values.get("type", "text")
            on = "checked" in values or kind == "hidden"
            self._current.append((kind, values["name"], values.get("value", ""), on))
        elif tag == "button" and values.get("value") == self._button:
            self._found, self.fields = True, self._current

    def handle_endtag(self, tag: str) -> None:
        if tag == "form" and self._found and self.fields is self._current:
            self._current = []

    def chosen(self, name: str) -> list[str]:
        """The values of the boxes that are ticked."""
        return [value for kind, own, value, on in self.fields if own == name and on and kind != "hidden"]

    def tick(self, name: str, value: str, on: bool = True) -> Form:
        """Tick a box, or take the tick away; of radio buttons only one stays chosen."""
        assert any((own, its) == (name, value) for _, own, its, _ in self.fields), f"{name}={value} can't be chosen"
        self.fields = [
            (kind, own, its, on if (own, its) == (name, value) else was and not (kind == "radio" and own == name))
            for kind, own, its, was in self.fields
        ]
        return self

    def data(self) -> list[tuple[str, str]]:
        return [(own, its) for _, own, its, on in self.fields if on] + [("do", self._button)]
