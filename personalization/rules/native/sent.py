"""What a destination is sent of the fields a rule names: only that can its own segments test."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from personalization.program.models import DestinationField
from personalization.rules.native import formula as f
from personalization.rules.native.reasons import Inexpressible, Reason, refuse
from personalization.rules.tree import Type

NOT_CARRIED = ("purchase_band",)
"""Profile fields that are in `segments.profile` only: no destination can be sent them."""


@dataclass(frozen=True)
class Sent:
    """The names under which a destination is sent the fields of a formula.

    Attributes
    ----------
    names : mapping of str to str
        Profile field to the platform's name.
    marker : str or None
        A name that holds a value for every contact of the destination, and for nobody else: whoever is taken away
        has it cleared. It keeps contacts of others, and former ones, from counting as "nothing is known".
    """

    names: Mapping[str, str]
    marker: str | None

    @property
    def needed_marker(self) -> str:
        """The marker. Raises `Inexpressible` when there is none, since people of whom nothing is known would pass."""
        if self.marker is None:
            raise refuse(
                "shape",
                "it holds for people of whom nothing is known, and contacts can't be told from former ones",
                advice="add a field with `column: campaign` and `type: text` to `fields`",
            )
        return self.marker


def sent(
    formula: f.Formula, fields: Sequence[DestinationField], marker: str | None, blocks: Collection[str] = ()
) -> Sent:
    """Which names the fields of a formula have at a destination.

    Parameters
    ----------
    fields : sequence of DestinationField
        The destination's mapping.
    marker : str or None
        See `Sent`.
    blocks : collection of str
        Names of content blocks: a column of that name is the block's code, not the profile's field.

    Raises
    ------
    Inexpressible
        Naming each field that is not sent, sent as another type, or not cleared when it becomes unknown.
    """
    names: dict[str, str] = {}
    reasons: dict[str, Reason] = {}
    for leaf in f.leaves(formula):
        if leaf.field in names or leaf.field in reasons:
            continue
        found = _mapped(leaf.field, leaf.kind, fields, blocks)
        if isinstance(found, DestinationField):
            names[leaf.field] = found.name
        else:
            reasons[leaf.field] = Reason(found.kind, found.text, leaf.clause, advice=found.advice)
    if reasons:
        raise Inexpressible(reasons.values())
    return Sent(names, marker)


def campaign_field(fields: Sequence[DestinationField]) -> str | None:
    """The field that says which campaign a contact is in: known for every contact, cleared when one is taken away."""
    return next((field.name for field in fields if field.column == "campaign" and field.type == "text"), None)


def _mapped(
    name: str, kind: Type, fields: Sequence[DestinationField], blocks: Collection[str]
) -> DestinationField | Reason:
    mapped = [] if name in blocks else [field for field in fields if field.column == name]
    wanted = "text" if kind == "boolean" else kind
    if not mapped:
        if name in blocks or name in NOT_CARRIED:
            return Reason("not_sent", f"the destination can't be sent {name}")
        example = f"{{name: …, column: {name}, type: {wanted}, 'null': clear}}"
        return Reason("not_sent", f"the destination is not sent {name}", advice=f"add it to `fields`: {example}")
    fitting = [field for field in mapped if field.type == wanted]
    if not fitting:
        text = f"{name} is sent as {mapped[0].type} and must be {wanted} to be compared"
        return Reason("not_sent", text, advice=f"set `type: {wanted}` at the field {mapped[0].name}")
    cleared = [field for field in fitting if field.null == "clear"]
    if not cleared:
        text = f"the destination keeps the old {name} of people about whom it is not known any more"
        return Reason("old_values", text, advice=f"set `'null': clear` at the field {fitting[0].name}")
    return cleared[0]
