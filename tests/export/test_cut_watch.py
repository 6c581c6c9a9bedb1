"""Quick ways to the same answer: the cut of a table, and the cut that only looks at what is new (invariants 31, 36)."""

from __future__ import annotations

import random
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from personalization.ledger import ConsentEvent, Keyring, Ledger
from personalization.ledger.token_key import TokensNotRewritten
from personalization.program.models import Purpose
from personalization.stages.export.cut import CONTACTS, Contact, Cut
from personalization.stages.export.cut_watch import Watch

PURPOSES = {"mail": Purpose(title="Mail"), "orders": Purpose(title="Orders", lawful_basis="contract")}
START = datetime(2017, 1, 1, tzinfo=UTC)

SEEDS = [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 6))]


class Town:
    """People with several identifiers, who say things at random."""

    def __init__(self, ledger: Ledger, seed: int, *, tidy: bool) -> None:
        self.random, self.ledger, self.number = random.Random(seed), ledger, 0
        people = range(12)
        self.tokens = [f"c{p}" for p in people] + [f"e{p}" for p in people] + [f"f{p}" for p in people]
        owner = {token: f"c{min(int(token[1:]), self.random.choice(people))}" for token in self.tokens}
        owner = {token: owner[person] if tidy else person for token, person in owner.items()}
        owner = {token: owner.get(person, person) for token, person in owner.items()}
        known = [token for token in self.tokens if self.random.random() < 0.9]
        rows = [(token, owner[token]) for token in known]
        if not tidy:
            rows += [(self.random.choice(self.tokens), self.random.choice(self.tokens)) for _ in range(4)]
        identity = pa.table({"identifier_token": [r[0] for r in rows], "customer_token": [r[1] for r in rows]})
        self.cut = Cut(ledger, PURPOSES, identity)
        contacts = [(p, f"c{self.random.choice(people)}" if self.random.random() < 0.3 else f"c{p}") for p in people]
        self.contacts = pa.table(
            {
                "key": [str(number) for number in range(2 * len(contacts))],
                "purpose": ["mail", "orders"] * len(contacts),
                "customer_token": [customer for _, customer in contacts for _ in range(2)],
                "address_token": [f"e{number}" for number, _ in contacts for _ in range(2)],
            },
            schema=CONTACTS,
        )

    def speak(self, times: int) -> None:
        for _ in range(times):
            self.number += 1
            token = self.random.choice(self.tokens)
            if self.random.random() < 0.1:
                self.ledger.suppressions.add([token, f"s1_{token}"], "bounced", "test")
                continue
            event = ConsentEvent(
                event_id=str(self.number),
                subject_token=token,
                purpose=self.random.choice(["mail", "mail", "orders"]),
                action=self.random.choice(["grant", "grant", "grant", "withdraw"]),
                effective_at=START + timedelta(days=self.random.randrange(5)),
                source="test",
            )
            self.ledger.consent.append([event])

    def erased(self, tokens: Collection[str]) -> dict[str, str]:
        """All have the same two further identifiers as in `one_by_one("s1_e3", "s1_nobody")`."""
        return {key: "s1_e3" for key in self.contacts["key"].to_pylist() if "s1_e3" in tokens}

    def one_by_one(self, *more: str) -> list[Contact]:
        return [
            Contact(row["key"], row["purpose"], (row["customer_token"], row["address_token"], *more))
            for row in self.contacts.to_pylist()
        ]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}")


@pytest.mark.parametrize("look_up", [0, 1_000])
@pytest.mark.parametrize("few", [0, 5_000])
@pytest.mark.parametrize("tidy", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_table_of_contacts_is_judged_like_each_contact_alone(
    ledger: Ledger, seed: int, tidy: bool, few: int, look_up: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few or many contacts, beside few or many events."""
    monkeypatch.setattr("personalization.stages.export.cut.FEW", few)
    monkeypatch.setattr("personalization.ledger.consent.LOOK_UP", look_up)
    town = Town(ledger, seed, tidy=tidy)
    town.speak(25)
    found = {row["key"]: (row["reason"], row["opted_out"]) for row in town.cut.stopped(town.contacts).to_pylist()}
    alone = {}
    for contact in town.one_by_one():
        alone |= town.cut.blocked([contact])
    assert found == {key: (block.reason, block.opted_out) for key, block in alone.items()}
    assert 0 < len(found) < town.contacts.num_rows


def test_identities_that_stay_where_they_are_give_the_same_answers(ledger: Ledger) -> None:
    town = Town(ledger, 2, tidy=True)
    town.speak(25)
    with duckdb.connect() as elsewhere:
        for name in ("identity", "covers"):
            rows = town.cut.engine.sql(f"from {name}").to_arrow_table()
            elsewhere.register("source", rows)
            elsewhere.execute(f"create table {name} as from source")
        cut = Cut(ledger, PURPOSES, elsewhere.cursor)
        assert cut.blocked(town.one_by_one()) == town.cut.blocked(town.one_by_one())
        for contact in town.one_by_one():
            assert set(cut.person(*contact.identifiers)) == set(town.cut.person(*contact.identifiers))
        cut.close()


@pytest.mark.parametrize("odd", ["t1_k0_e7", "t1_k11_e7", "t1_k1e7"])
def test_one_token_of_another_key_among_thousands_is_found(ledger: Ledger, tmp_path: Path, odd: str) -> None:
    ledger.check_keys(Keyring.create(tmp_path / "keys.json"))
    tokens = [f"t1_k1_e{number}" for number in range(3_000)] + ["s1_s1_e7"]
    Cut(ledger, PURPOSES, pa.table({"identifier_token": tokens, "customer_token": tokens}))
    tokens[1_500] = odd
    with pytest.raises(TokensNotRewritten):
        Cut(ledger, PURPOSES, pa.table({"identifier_token": tokens, "customer_token": tokens}))


@pytest.mark.parametrize("seed", SEEDS)
def test_whoever_watches_knows_what_a_fresh_look_shows(ledger: Ledger, seed: int) -> None:
    town = Town(ledger, seed, tidy=True)
    town.speak(15)
    watch = Watch(town.cut, town.contacts.slice(0, 20))  # the last ones are strangers to it
    changes = set()
    for _ in range(12):
        with Ledger.open(str(ledger.engine.url)) as another:  # another process writes
            writer, town.ledger = town.ledger, another
            town.speak(2)
            town.ledger = writer
        contacts = town.one_by_one("s1_e3", "s1_nobody")
        found = watch.blocked(contacts)
        assert found == town.cut.blocked(contacts)
        assert watch.blocked(town.one_by_one(), erased=town.erased) == found, "asked for when it matters"
        assert town.cut.blocked(town.one_by_one(), erased=town.erased) == found
        changes.add(frozenset(found))
    assert len(changes) > 1


def test_a_ledger_that_was_set_back_is_read_anew(ledger: Ledger, tmp_path: Path) -> None:
    town = Town(ledger, 1, tidy=True)
    town.speak(20)
    watch = Watch(town.cut, town.contacts)
    older = watch.blocked(town.one_by_one())
    town.ledger.suppressions.add(["e3", "e4", "e5"], "bounced", "test")
    assert watch.blocked(town.one_by_one()) != older
    watch._ledger = town.cut.ledger = Ledger.open(f"sqlite:///{tmp_path / 'empty.sqlite'}")
    assert watch.blocked(town.one_by_one()) == town.cut.blocked(town.one_by_one())
