"""What all models of the program's files share: names, codes, shares, rules as text, and no unknown keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Code = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,19}$")]
Rule = Annotated[
    str,
    BeforeValidator(lambda value: str(value).upper() if isinstance(value, bool) else value),
    WithJsonSchema({"type": ["string", "boolean"]}),
]
"""Text of a rule. Without quotes YAML reads the rules TRUE and FALSE as truth values, which are meant all the same."""
Share = Annotated[float, Field(ge=0, le=1)]
CONFIG = ConfigDict(extra="forbid", frozen=True)
