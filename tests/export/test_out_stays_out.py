"""Out never becomes in without newer proof, whatever happens in between (invariant 34, S4).

Real files, sync, vault, ledger, identities and cut; the model knows only who said what when, and which records there
were. `fast` runs in the normal suite, `long` in `make test-all`.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from personalization.errors import LedgerError
from personalization.ledger import ConsentEvent
from personalization.ledger.generation import Generations
from personalization.ledger.key_rotation import rotate_vault
from personalization.privacy.erase import erase
from personalization.program.models import Purpose
from personalization.runtime import Runtime
from personalization.stages.export.cut import Contact, Cut
from personalization.stages.export.planner import read_identity
from personalization.stages.sync.identity import write_identity
from personalization.token_rotation import replace_token_key
from personalization.workspace import Workspace
from tests.sync.shop import Shop, new_shop

PURPOSE = "email.marketing"
START = datetime(2017, 1, 1, tzinfo=UTC)
CUSTOMERS = {"columns": {"customer_id": "id", "email": "mail"}, "entity": "customers", "path": "crm.csv"}
CONSENTS = {
    "columns": {"event_id": "event", "email": "mail", "purpose": "purpose", "action": "action", "effective_at": "at"},
    "entity": "consent_events",
    "path": "consents*.csv",
}
people = st.integers(0, 2)
either = st.integers(0, 1)


def address(person: int, which: int) -> str:
    return f"p{person}{'ab'[which]}@example.com"


class Company(RuleBasedStateMachine):
    """Three people with two customer ids and two addresses each, and everything that can happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="out-stays-out-"))
        self.shop: Shop = new_shop(self.folder / "shop")
        tables = {"crm": {**CUSTOMERS, "write": "replace"}, "consents": CONSENTS}
        self.shop.write_program({"files": {"kind": "files", "location": "data", "tables": tables}})
        self.shop.write_lines("consents.csv", "event,mail,purpose,action,at")
        self.clock = 10
        self.crm: dict[str, str] = {}  # customer id: address
        self.owners: dict[str, str] = {}  # address: the customer id that had it last
        self.said: dict[str, list[tuple[int, str]]] = defaultdict(list)  # identifier: moments and actions
        self.suppressed: set[str] = set()
        self.erased: set[str] = set()
        self.events: list[ConsentEvent] = []
        self.files = self.rotations = self.token_rotations = self.erasures = 0

    @initialize(person=people)
    def first(self, person: int) -> None:
        self.customer(person, 0, 0)

    @property
    def runtime(self) -> Runtime:
        return Runtime(Workspace.at(self.shop.root))

    def token(self, identifier: str) -> str:
        return self.shop.keys.token("email" if "@" in identifier else "customer", identifier)

    def sync(self) -> None:
        if self.crm:
            self.shop.write_lines("crm.csv", "id,mail", *(f"{id_},{mail}" for id_, mail in sorted(self.crm.items())))
            self.shop.sync()
            self.shop.split("customers")
            self.shop.split("consent_events")
            with self.shop.warehouse.connect() as session:
                write_identity(session, self.shop.workspace.history, kept=self.shop.ledger.kept.people())

    # what can happen ------------------------------------------------------------------------------------------------

    @rule(person=people, number=either, which=either)
    def customer(self, person: int, number: int, which: int) -> None:
        """A new customer, a changed address, or a merge: both ids of a person with one address."""
        customer = f"c{person}{number}"
        self.crm[customer] = address(person, which)
        for owner, mail in sorted(self.crm.items()):
            self.owners[mail] = owner if owner == customer or mail not in self.owners else self.owners[mail]
        self.sync()

    @rule(
        person=people, number=either, by_address=st.booleans(), action=st.sampled_from(["grant", "withdraw", "object"])
    )
    def say(self, person: int, number: int, by_address: bool, action: str) -> None:
        """On the preference page, by a webhook, to support: at once, by an id or address, known or not."""
        identifier = address(person, number) if by_address else f"c{person}{number}"
        self.clock += 1
        event = ConsentEvent(
            event_id=f"said-{self.clock}",
            subject_token=self.token(identifier),
            purpose=PURPOSE,
            action=action,
            effective_at=START + timedelta(hours=self.clock),
            source="page",
        )
        self.events.append(event)
        self.shop.ledger.consent.append([event])
        self.said[identifier].append((self.clock, action))

    @rule(person=people, which=either, new=st.booleans())
    def import_grants(self, person: int, which: int, new: bool) -> None:
        """A file of consents: a new sign-up, or a grant of long ago that somebody found."""
        self.clock += 1
        moment = self.clock if new else 1 + self.files % 5
        self.files += 1
        at = (START + timedelta(hours=moment)).strftime("%Y-%m-%d %H:%M:%S+00:00")
        line = f"{self.files},{address(person, which)},{PURPOSE},grant,{at}"
        self.shop.write_lines(f"consents_{self.files}.csv", "event,mail,purpose,action,at", line)
        self.said[address(person, which)].append((moment, "grant"))
        self.sync() if self.crm else self.shop.sync()

    @rule(person=people, which=either)
    def platform_says_unsubscribed(self, person: int, which: int) -> None:
        self.shop.ledger.suppressions.add([self.token(address(person, which))], "unsubscribed", "mailchimp")
        self.suppressed.add(address(person, which))

    @rule()
    def replay(self) -> None:
        self.shop.ledger.consent.append(reversed(self.events))

    @rule()
    def sync_again(self) -> None:
        self.sync()

    @precondition(lambda self: self.rotations < 1)
    @rule()
    def re_key(self) -> None:
        self.rotations += 1
        rotate_vault(self.shop.ledger, self.shop.keys, START + timedelta(days=200))
        self.shop.__dict__.pop("keys")

    @precondition(lambda self: self.token_rotations < 2)
    @rule()
    def re_token(self) -> None:
        """Every token becomes another one; what is replayed later comes from sources that know identifiers."""
        self.token_rotations += 1
        self.shop.ledger.close()
        replace_token_key(self.runtime, START + timedelta(days=200))
        self.shop.__dict__.pop("keys")
        self.shop.__dict__.pop("ledger")
        self.shop.ledger.check_keys(self.shop.keys)
        known = self.shop.keys.current_token
        self.events = [replace(event, subject_token=known(event.subject_token)) for event in self.events]

    @rule(person=people, which=either)
    def restore(self, person: int, which: int) -> None:
        """An older copy of the ledger is put in place: it is recognised, and the newest one comes back."""
        marks = Generations(self.shop.ledger, self.shop.workspace.ledger_mark)
        marks.note()
        live, copy = self.shop.workspace.state / "ledger.sqlite", self.folder / "copy.sqlite"
        copy.unlink(missing_ok=True)
        with sqlite3.connect(live) as source, sqlite3.connect(copy) as target:
            source.backup(target)
        self.platform_says_unsubscribed(person, which)
        self.say(person, which, True, "withdraw")
        marks.note()
        newest = self.folder / "newest.sqlite"
        self.shop.ledger.close()
        with sqlite3.connect(live) as source:
            source.execute("pragma wal_checkpoint(truncate)")
        shutil.move(live, newest)
        shutil.copy(copy, live)
        self.shop.__dict__.pop("ledger")
        with pytest.raises(LedgerError, match="older copy"):
            Generations(self.shop.ledger, self.shop.workspace.ledger_mark).check()
        self.shop.ledger.close()
        for path in live.parent.glob("ledger.sqlite*"):
            path.unlink()
        shutil.move(newest, live)
        self.shop.__dict__.pop("ledger")

    @precondition(lambda self: self.erasures < 1 and self.crm)
    @rule(data=st.data())
    def erase_and_re_create(self, data: st.DataObject) -> None:
        """Somebody is erased; their company's file still names them, so the next sync reads them again."""
        self.erasures += 1
        mail = data.draw(st.sampled_from(sorted(set(self.crm.values()))))
        erase(self.runtime, mail, at=START + timedelta(days=300))
        self.erased.add(mail)
        self.sync()

    # what must hold -------------------------------------------------------------------------------------------------

    def person_of(self, customer: str) -> set[str]:
        """All identifiers of the person: of records that share one, and addresses that one of them had last."""
        together = {customer}
        while True:
            mails = {mail for id_, mail in self.crm.items() if id_ in together}
            more = {id_ for id_, mail in self.crm.items() if mail in mails}
            if more <= together:
                break
            together |= more
        former = {mail for mail, owner in self.owners.items() if owner in together and mail not in self.crm.values()}
        return together | mails | former

    @invariant()
    def whoever_is_out_is_out(self) -> None:
        if not self.crm:
            return
        with self.shop.warehouse.connect() as session:
            cut = Cut(self.shop.ledger, {PURPOSE: Purpose(title="Mail")}, read_identity(session))
        contacts = [
            Contact(customer, PURPOSE, (self.token(customer), self.token(mail), self.shop.keys.suppression_token(mail)))
            for customer, mail in self.crm.items()
        ]
        blocked = cut.blocked(contacts)
        for customer, mail in self.crm.items():
            own = self.person_of(customer)
            said = [statement for identifier in own for statement in self.said[identifier]]
            out = max((moment for moment, action in said if action != "grant"), default=0)
            proof = max((moment for moment, action in said if action == "grant"), default=0)
            must_be_out = out >= proof or own & self.suppressed or mail in self.erased
            assert not (must_be_out and customer not in blocked), (customer, mail, own, said)
            if not self.erased:
                assert must_be_out or customer not in blocked, (customer, blocked, own, said)

    def teardown(self) -> None:
        self.shop.ledger.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def prove(examples: int, steps: int) -> None:
    checks: list[Any] = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    run_state_machine_as_test(
        Company,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=checks
        ),
    )


def test_out_stays_out() -> None:
    prove(examples=3, steps=10)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_out_stays_out_for_long() -> None:
    prove(examples=40, steps=25)
