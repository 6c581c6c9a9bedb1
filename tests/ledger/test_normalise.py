"""One spelling per identifier. These tables are frozen with NORMALISATION_VERSION: a change needs a new version."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalization.ledger import NORMALISATION_VERSION, normalise_email, normalise_id, normalise_phone


def test_the_version_of_these_tables() -> None:
    assert NORMALISATION_VERSION == 1


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("ann@example.com", "ann@example.com"),
        ("  Ann.Lee@EXAMPLE.Com\n", "ann.lee@example.com"),
        ("ann.lee+news@gmail.com", "ann.lee+news@gmail.com"),
        ("o'neil!#$%&*/=?^_`{|}~-@example.com", "o'neil!#$%&*/=?^_`{|}~-@example.com"),
        ("anna@bücher.de", "anna@xn--bcher-kva.de"),
        ("anna@BÜCHER.de", "anna@xn--bcher-kva.de"),
        ("anna@XN--BCHER-KVA.de", "anna@xn--bcher-kva.de"),
        ("anna@bu\u0308cher.de", "anna@xn--bcher-kva.de"),
        ("anna@例え。jp", "anna@xn--r8jz45g.jp"),
        ("A\u030ase@example.com", "åse@example.com"),
        ("用户@example.com", "用户@example.com"),
        ("a@1.example.com", "a@1.example.com"),
        ("a@my-shop.example", "a@my-shop.example"),
        ("a" * 64 + "@example.com", "a" * 64 + "@example.com"),
        ("a@" + ".".join(["b" * 63] * 3) + "." + "c" * 60, "a@" + ".".join(["b" * 63] * 3) + "." + "c" * 60),
    ],
)
def test_addresses(text: str, normalised: str) -> None:
    assert normalise_email(text) == normalised


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "ann",
        "@example.com",
        "ann@",
        "ann@@example.com",
        "ann@b@example.com",
        "ann@localhost",
        "ann@example..com",
        "ann@.example.com",
        "ann@example.com.",
        "ann@-example.com",
        "ann@example-.com",
        "ann@exa_mple.com",
        "ann@192.0.2.1",
        "ann@[192.0.2.1]",
        ".ann@example.com",
        "ann.@example.com",
        "a..b@example.com",
        '"a b"@example.com',
        "a b@example.com",
        "a\tb@example.com",
        "a\x00b@example.com",
        "a\u00a0b@example.com",
        "a\u200bb@example.com",
        "a\ud800b@example.com",
        "ann@exam ple.com",
        "ann@xn--a.com",
        "Ann <ann@example.com>",
        "ann@example.com, bob@example.com",
        "mailto:ann@example.com",
        "a" * 65 + "@example.com",
        "å" * 33 + "@example.com",
        "a@" + "b" * 64 + ".com",
        "aa@" + ".".join(["b" * 63] * 3) + "." + "c" * 61,
    ],
)
def test_what_is_not_an_address(text: str) -> None:
    assert normalise_email(text) is None


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("+49 171 1234567", "+491711234567"),
        ("0049-171/1234567", "+491711234567"),
        ("+44 (0)20 7946 0958", "+442079460958"),
        ("+1 (555) 123-4567", "+15551234567"),
        ("\uff0b４９ 171 1234567", "+491711234567"),
        ("+49 171\u20111234567", "+491711234567"),
        ("0171 1234567", None),
        ("(555) 123-4567", None),
        ("+49", None),
        ("+0171123456", None),
        ("+1234567890123456", None),
        ("+1 555 123 4567 ext. 8", None),
        ("", None),
    ],
)
def test_telephone_numbers(text: str, normalised: str | None) -> None:
    assert normalise_phone(text) == normalised


@pytest.mark.parametrize(
    ("text", "normalised"),
    [(" A-1 ", "A-1"), ("007", "007"), ("a b", "a b"), ("A\u030a", "Å"), ("", None), (" \t", None)],
)
def test_ids(text: str, normalised: str | None) -> None:
    assert normalise_id(text) == normalised


anything = st.text(max_size=40) | st.builds(
    "{}@{}.{}".format, st.text(max_size=9), st.text(max_size=9), st.text(max_size=9)
)


@given(anything)
def test_normalising_again_changes_nothing(text: str) -> None:
    for normalise in (normalise_email, normalise_phone, normalise_id):
        once = normalise(text)
        assert once is None or normalise(once) == once


@given(st.emails())
def test_the_case_and_spaces_around_an_ordinary_address_do_not_matter(address: str) -> None:
    once = normalise_email(address)
    assert normalise_email(f" {address.upper()} ") == once
