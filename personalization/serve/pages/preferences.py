"""The preference page: what somebody agreed to, wants to read, and how often; what we hold; copy and erasure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from starlette.responses import Response

from personalization.ledger.consent_event import DOUBLE_OPT_IN_ID
from personalization.serve.pages.incoming import BadRequest, Incoming
from personalization.serve.pages.record import CONFIRM_PAGE, GPC, ONE_CLICK, PREFERENCE_PAGE, SOLD, Decision
from personalization.serve.pages.render import Language
from personalization.serve.pages.visitor import Visitor, confirm_until

if TYPE_CHECKING:
    from personalization.serve.pages.routes import Site

REQUESTS = {"copy": "access", "erase": "erasure"}
HISTORY_ROWS = 50
ON, OFF = "on", "off"


_HOW = {PREFERENCE_PAGE: "how_page", ONE_CLICK: "how_one_click", CONFIRM_PAGE: "how_confirm", GPC: "how_signal"}


@dataclass(frozen=True)
class Row:
    """A purpose, topic or frequency as the page shows it.

    Attributes
    ----------
    was : str
        What the form says it showed, so that only what the person changed on it counts.
    status : str
        Where it stands, in words.
    confirm : str, optional
        Where the second step is, when one is left.
    """

    name: str
    title: str
    description: str
    chosen: bool
    was: str = ""
    notice: str = ""
    status: str = ""
    editable: bool = True
    confirm: str | None = None


def answer(site: Site, incoming: Incoming) -> Response:
    visitor, language = site.visitor(incoming, "preferences")
    told: list[str] = []
    if incoming.posts:
        visitor, told = _act(site, incoming, visitor, language)
    waiting = _waiting(site, visitor)
    return site.page(
        language,
        "preferences",
        told=told,
        steps=[
            (language.text(site.program.purposes[name].title), f"{address}?lang={language.tag}")
            for name, address in waiting.items()
        ]
        if incoming.posts
        else [],
        address=visitor.address or language.word("someone"),
        purposes=_purposes(site, visitor, language, waiting, privacy_control=incoming.privacy_control),
        topics=_topics(site, visitor, language),
        frequency=_frequency(site, visitor, language),
        held=[(language.word(f"field_{name}"), text) for name, text in visitor.held],
        history=_history(site, visitor, language),
        requests=hasattr(site.ledger, "requests"),
    )


def _act(site: Site, incoming: Incoming, visitor: Visitor, language: Language) -> tuple[Visitor, list[str]]:
    """Do what a form asks for. Returns the person afterwards, and what was done in words."""
    how = site.circumstances(incoming, PREFERENCE_PAGE, language)
    action = incoming.value("do")
    if action in REQUESTS and hasattr(site.ledger, "requests"):
        requests = site.ledger.requests
        number = requests.open(REQUESTS[action], visitor.link.subject_token, PREFERENCE_PAGE, how.at)
        due = language.date(requests.get(number).due_at)
        return visitor, [language.word(f"{action}_done", date=due, number=number)]
    if action == "stop":
        decision = Decision(dict.fromkeys(site.recorder.marketing, False), objects=True)
    elif action == "save":
        decision = _decision(site, incoming)
    else:
        raise BadRequest(400)
    if incoming.privacy_control:  # the browser's signal stands, whatever the form says
        kept = {name: yes for name, yes in decision.purposes.items() if not (yes and name in SOLD)}
        decision = Decision(kept, decision.objects, decision.topics, decision.frequency)
    changed = site.recorder.record(visitor, decision, how)
    visitor = site.again(visitor)
    return visitor, _changes(site, changed, visitor, language)


def _decision(site: Site, incoming: Incoming) -> Decision:
    """What a person changed on the form: a form that is older than another choice must not undo that."""
    program = site.program
    shown = dict(entry.rpartition("=")[::2] for entry in incoming.form.get("was", []))
    chosen = set(incoming.form.get("purpose", []))
    topics = set(incoming.form.get("topic", []))
    frequency = incoming.value("frequency")
    return Decision(
        purposes={
            name: name in chosen
            for name, purpose in program.purposes.items()
            if purpose.lawful_basis != "contract" and shown.get(name, "") == (OFF if name in chosen else ON)
        },
        topics={
            name: name in topics
            for name in program.topics
            if shown.get(f"topic:{name}", "") == (OFF if name in topics else ON)
        },
        frequency=frequency if frequency in program.frequency and shown.get("frequency", "") != frequency else None,
    )


def _changes(site: Site, changed: Decision, visitor: Visitor, language: Language) -> list[str]:
    told = []
    program = site.program
    for name, agrees in changed.purposes.items():
        if agrees and name in visitor.waiting:
            continue  # the page says which step is left
        title = language.text(program.purposes[name].title)
        told.append(language.word("changed_on" if agrees else "changed_off", title=title))
    if changed.topics:
        chosen = [
            language.text(program.topics[name].title) for name in program.topics if visitor.choices.topics.get(name)
        ]
        told.append(language.word("changed_topics", list=", ".join(chosen) or language.word("no_topics")))
    if changed.frequency:
        title = language.text(program.frequency[changed.frequency].title)
        told.append(language.word("changed_frequency", title=title))
    any_change = changed.purposes or told
    return [language.word("saved" if any_change else "nothing_changed"), *told]


def _waiting(site: Site, visitor: Visitor) -> dict[str, str]:
    """By purpose the address of the page that confirms it, for grants that can still be confirmed."""
    return {
        name: site.link_to(
            "confirm", visitor.link, scope=(event.evidence or {})[DOUBLE_OPT_IN_ID], expires_at=confirm_until(event)
        )
        for name, event in visitor.waiting.items()
        if name in site.program.purposes and site.clock() <= confirm_until(event)
    }


def _purposes(
    site: Site, visitor: Visitor, language: Language, waiting: dict[str, str], *, privacy_control: bool
) -> list[Row]:
    rows = []
    declared = site.program.purposes
    for name in sorted(
        declared, key=lambda name: declared[name].lawful_basis == "contract"
    ):  # what is fixed comes last
        purpose, state = declared[name], visitor.states[name]
        fixed = purpose.lawful_basis == "contract"
        chosen = fixed or (state.granted if purpose.needs_grant else state.state != "withdrawn")
        signalled = privacy_control and name in SOLD
        if fixed:
            status = language.word("because_contract")
        elif signalled:
            status = language.word("because_gpc")
        elif name in waiting:
            status = language.word("waiting_until", date=language.date(confirm_until(visitor.waiting[name])))
        else:
            status = _status(state.state, state.effective_at, language, needs_grant=purpose.needs_grant)
        rows.append(
            Row(
                name,
                language.text(purpose.title),
                language.text(purpose.description),
                chosen,
                was=f"{name}={ON if chosen else OFF}",
                notice=language.text(purpose.notices[-1].text) if purpose.notices else "",
                status=status,
                editable=not (fixed or signalled),
                confirm=waiting.get(name),
            )
        )
    return rows


def _status(state: str, at: datetime | None, language: Language, *, needs_grant: bool) -> str:
    if at is None:
        return language.word("never_said" if needs_grant else "not_objected")
    return language.word("on_since" if state == "granted" else "off_since", date=language.date(at))


def _topics(site: Site, visitor: Visitor, language: Language) -> list[Row]:
    rows = []
    for name, topic in site.program.topics.items():
        chosen = visitor.choices.topics.get(name, False)
        was = f"topic:{name}={ON if chosen else OFF}"
        rows.append(Row(name, language.text(topic.title), language.text(topic.description), chosen, was))
    return rows


def _frequency(site: Site, visitor: Visitor, language: Language) -> list[Row]:
    choices = site.program.frequency
    usual = next((name for name, choice in choices.items() if choice.sends is None), "")
    own = visitor.choices.frequency if visitor.choices.frequency in choices else usual
    return [
        Row(name, language.text(choice.title), language.text(choice.description), name == own, f"frequency={own}")
        for name, choice in choices.items()
    ]


def _history(site: Site, visitor: Visitor, language: Language) -> list[tuple[str, str, str, str, str]]:
    """Day (for machines and for people), purpose, action and method, newest first. What was noted under several
    identifiers at once was said once."""
    rows = []
    for each in reversed(visitor.history):
        event = each.event
        purpose = site.program.purposes.get(event.purpose)
        day = event.effective_at
        rows.append(
            (
                day.date().isoformat(),
                language.date(day),
                language.text(purpose.title) if purpose else event.purpose,
                language.word(f"action_{event.action}"),
                language.word(_HOW[event.method]) if event.method in _HOW else event.method or event.source,
            )
        )
    return list(dict.fromkeys(rows))[:HISTORY_ROWS]
