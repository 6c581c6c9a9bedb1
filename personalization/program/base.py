"""What all models of the program's files share: names, codes, shares, rules as text, and no unknown keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Code = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,19}$")]
Rule = str
Share = Annotated[float, Field(ge=0, le=1)]
CONFIG = ConfigDict(extra="forbid", frozen=True)
