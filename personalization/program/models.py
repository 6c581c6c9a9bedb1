"""The program: what a marketer or data engineer writes in `program/*.yaml`, as typed models.

Every model forbids unknown keys, so that a misspelt setting is an error and not a silent default. Rule texts are
plain strings here; `personalization.rules` parses and types them.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field, WrapValidator, model_validator

from personalization.program.base import CONFIG
from personalization.program.base import Code as Code
from personalization.program.base import Name as Name
from personalization.program.base import Rule as Rule
from personalization.program.base import Share as Share
from personalization.program.fatigue import Fatigue as Fatigue
from personalization.program.fatigue import FrequencyCap as FrequencyCap
from personalization.program.fatigue import Governor as Governor
from personalization.program.fatigue import QuietHours as QuietHours
from personalization.program.fatigue import Sunset as Sunset


def _text(value: Any, _: Any) -> str | dict[str, str]:
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, dict) and value and all(isinstance(part, str) and part.strip() for part in value.values()):
        return {str(language): text for language, text in value.items()}
    found = "an empty text" if value == "" else type(value).__name__
    if isinstance(value, dict) and value:
        empty = [str(language) for language, text in value.items() if not isinstance(text, str) or not text.strip()]
        found = f"no text for '{empty[0]}' (a text with a comma needs quotes within braces)"
    raise ValueError(f"write a text, or one for each language as in {{en: …, de: …}}; found {found}")


Text = Annotated[str | dict[str, str], WrapValidator(_text)]
"""What people read: one text in the program's first language, or a text for each language."""


class Model(BaseModel):
    model_config = CONFIG


# --- program.yaml ----------------------------------------------------------------------------------------------------


class Holdout(Model):
    """A fixed share of customers who get no campaign at all, to measure what campaigns bring in total."""

    share: Share = 0.05
    salt: str = "holdout-1"


class Scoring(Model):
    """Purchase propensity: the chance of a purchase within `horizon_days` after `as_of`."""

    horizon_days: int = Field(default=28, gt=0)
    training_cutoffs: int = Field(default=6, ge=3)
    retrain_after_days: int = Field(default=7, gt=0)
    bands: dict[Name, Share] = {"low": 0.0, "medium": 0.5, "high": 0.8}


class Serve(Model):
    """The web server of `personalization serve`, as the outside world reaches it."""

    public_url: str | None = Field(
        default=None, description="e.g. https://mail.example.com: in links of e-mails, and in what some senders sign"
    )


class Privacy(Model):
    """How privacy requests are worked off, and how long data are kept."""

    erasure: Literal["approval", "automatic"] = Field(
        default="approval", description="whether an erasure asked for on the preference page waits for a person"
    )
    retention_months: dict[Literal["order_lines", "email_events", "customer_events"], Annotated[int, Field(ge=1)]] = (
        Field(default={}, description="rows older than this are removed; entities that are not named are kept")
    )
    copies_days: int = Field(default=30, ge=1, description="copies made for people who asked are removed after this")
    bodies_days: int = Field(default=90, ge=1, description="bodies of webhook messages are removed after this")
    outbox_days: int = Field(
        default=400, ge=30, description="settled rows of export runs are removed after this; the books of runs stay"
    )


class Rules(Model):
    """How rules count days: by the program's calendar, or by each customer's where their time zone is known."""

    days: Literal["program", "customer"] = Field(
        default="program",
        description="whose days within => '7 days', days_since, as_of and days_ago count; hours are the same",
    )


class OwnEvent(Model):
    """A kind of event of the program's own, which a source table of entity `customer_events` gives."""

    title: str = Field(description="what somebody did, as in 'visited the site'")
    noun: str | None = Field(default=None, description="the same as a plural, as in 'visits'")
    properties: list[Literal["department", "category", "product", "detail"]] = Field(
        default=[], description="what rules can narrow it by, as in did('visit', category => 'Wine')"
    )
    sums: list[Literal["amount", "quantity"]] = Field(default=[], description="what rules can add up with sum_of(…)")


class ProgramFile(Model):
    name: str
    timezone: str = "UTC"
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$")
    slash_dates: Literal["month_first", "day_first"] | None = Field(
        default=None, description="how the sources mean 03/04/2017; unset, dates with slashes are refused"
    )
    languages: list[str] = ["en"]
    notes: list[str] = Field(default=[], description="what every reader of the report must know about the data")
    start: date = Field(description="first day for which the program can be run; the first Dagster partition")
    holdout: Holdout = Holdout()
    fatigue: Fatigue = Fatigue()
    quiet_hours: QuietHours | None = Field(default=None, description="hours in which no audience is released")
    sunset: Sunset | None = Field(default=None, description="whom campaigns leave alone; unset: nobody")
    governor: Governor | None = Field(default=None, description="fewer mails while people complain; unset: none")
    scoring: Scoring = Scoring()
    rules: Rules = Rules()
    events: dict[Name, OwnEvent] = Field(
        default={}, description="events beside purchases and mails that rules can ask for; see write-a-segment"
    )
    serve: Serve = Serve()
    privacy: Privacy = Privacy()
    min_completeness: Share = Field(
        default=0.0, description="share of decision fields that must be known before a customer is mailed"
    )


# --- sources.yaml ----------------------------------------------------------------------------------------------------

Entity = Literal[
    "customers", "products", "order_lines", "campaign_history", "email_events", "customer_events", "consent_events"
]


class SourceTable(Model):
    """One table of a source and how its columns become the columns of an entity (canonical name: source name)."""

    entity: Entity
    columns: dict[str, str]
    constants: dict[str, str | int | float | bool] = {}
    cursor: str | None = Field(default=None, description="source column that only grows; loads are incremental by it")
    write: Literal["append", "replace"] = "append"
    # files
    path: str | None = None
    format: Literal["csv", "jsonl", "parquet"] | None = None
    delimiter: str = ","
    # databases
    table: str | None = None
    # REST
    endpoint: str | None = None
    records: str | None = Field(default=None, description="JSON path of the list of records, e.g. `data`")
    params: dict[str, str | int] = {}


class Pagination(Model):
    """How a REST source is paged: by page number, an opaque cursor in the answer, or a `Link: rel=next` header."""

    kind: Literal["page", "cursor", "link"]
    page_param: str = "page"
    size_param: str | None = None
    size: int = 500
    cursor_param: str = "cursor"
    cursor_path: str = "next_cursor"


class FilesSource(Model):
    kind: Literal["files"]
    location: str = Field(description="a folder, `package:NAME/FOLDER`, or an object-store URL such as s3://bucket/in")
    tables: dict[Name, SourceTable]


class DatabaseSource(Model):
    kind: Literal["database"]
    connection: str = Field(description="SQLAlchemy URL; write secrets as ${env:NAME}")
    tables: dict[Name, SourceTable]


class RestSource(Model):
    kind: Literal["rest"]
    base_url: str
    bearer_token: str | None = Field(default=None, description="write it as ${env:NAME}")
    since_param: str | None = Field(default=None, description="query parameter that takes the last cursor value")
    pagination: Pagination | None = None
    tables: dict[Name, SourceTable]


class WebhookTable(Model):
    """Which events of a sender become rows of an entity, and how. Paths are dotted, as in `data.customer.id`."""

    entity: Entity
    when: dict[str, str | list[str]] = Field(default={}, description="path: the value or values it must have")
    records: str | None = Field(default=None, description="path of a list: one row an element, e.g. `data.lines`")
    columns: dict[str, str] = Field(description="canonical column: path in the event, or in the element after `.`")
    constants: dict[str, str | int | float | bool] = {}


Sender = Literal[
    "standard",
    "mailchimp",
    "hubspot",
    "salesforce",
    "activecampaign",
    "klaviyo",
    "customerio",
    "shopify",
    "stripe",
    "segment",
]


class WebhookSource(Model):
    """Events that come to `POST /webhooks/<name of the source>`, signed as the sender signs them."""

    kind: Literal["webhook"]
    sender: Sender
    secrets: list[str] = Field(
        default=[],
        description="signing secrets, each as ${env:NAME}; two while they are being changed",
    )
    url_secret: str | None = Field(
        default=None, description="for senders that sign nothing: a secret in the address, as ${env:NAME}"
    )
    purposes: list[str] = Field(
        default=[],
        description="what an opt-out there withdraws; none given: every e-mail purpose but those of a contract",
    )
    tables: dict[Name, WebhookTable] = {}


Source = Annotated[FilesSource | DatabaseSource | RestSource | WebhookSource, Field(discriminator="kind")]


class SourcesFile(Model):
    sources: dict[Name, Source]


# --- consent.yaml ----------------------------------------------------------------------------------------------------


class Notice(Model):
    """What people were told when they agreed. The hash of the text they saw is stored with each consent event."""

    version: str
    text: Text


# Purposes that are never the purpose of a mailing, whatever the program says about them.
PROCESSING = ("personalization.", "analytics", "share.", "sale")


class Purpose(Model):
    """What people can agree to, and what they are told about it.

    With `double_opt_in` a grant counts only when it is confirmed by a second act within `confirm_within`.
    """

    title: Text
    description: Text | None = None
    channel: str = "email"
    lawful_basis: Literal["consent", "legitimate_interest", "contract"] = "consent"
    marketing: bool | None = Field(
        default=None,
        description="whether campaigns may use it; unset: yes, unless it rests on a contract or is no mailing",
    )
    double_opt_in: bool = False
    confirm_within: Annotated[str, Field(pattern=r"^[1-9]\d{0,3} (hours?|days?)$")] = "7 days"
    jurisdiction: str | None = Field(default=None, description="whose law the notice was written for, e.g. EU")
    notices: list[Notice] = Field(default=[], description="the last one is shown now; earlier ones stay for proof")

    @property
    def time_to_confirm(self) -> timedelta:
        number, unit = self.confirm_within.split()
        return timedelta(hours=int(number)) if unit.startswith("hour") else timedelta(days=int(number))

    @property
    def needs_grant(self) -> bool:
        """Whether silence means no. Purposes on another lawful basis stand until the person objects."""
        return self.lawful_basis == "consent"


class Topic(Model):
    """Something people can choose to read about. Rules see it as the profile field `topic_<name>`."""

    title: Text
    description: Text | None = None


class Frequency(Model):
    """How often somebody wants mail: at most `sends` in any `days` days; neither given: no cap of their own."""

    title: Text
    description: Text | None = None
    sends: int | None = Field(default=None, ge=1)
    days: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _both_or_neither(self) -> Frequency:
        if (self.sends is None) != (self.days is None):
            raise ValueError("give both sends and days, or neither for no cap of the person's own")
        return self


PurposeName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.]*$")]


class ConsentFile(Model):
    purposes: dict[PurposeName, Purpose]
    topics: dict[Name, Topic] = {}
    frequency: dict[Name, Frequency] = Field(default={}, description="choices in the order in which they are shown")
    words: dict[Name, Text] = Field(default={}, description="words of the pages that you want to say differently")


# --- segments.yaml ---------------------------------------------------------------------------------------------------


class Segment(Model):
    """Who belongs. `unknown` says what happens to people about whom the rule can't be decided."""

    title: str
    rule: Rule
    unknown: Literal["exclude", "include", "hold"] = "exclude"
    min_completeness: Share = 0.0
    owner: str | None = None


class SegmentsFile(Model):
    segments: dict[Name, Segment]


# --- content.yaml, offers.yaml ---------------------------------------------------------------------------------------


class Branch(Model):
    code: Code
    when: Rule
    title: str = ""


class Otherwise(Model):
    code: Code
    title: str = ""


class Block(Model):
    """Ordered branches; the first that holds gives its code. `otherwise` is mandatory: nobody gets a hole."""

    title: str
    branches: list[Branch] = Field(min_length=1)
    otherwise: Otherwise

    @model_validator(mode="after")
    def _codes_differ(self) -> Block:
        codes = [branch.code for branch in self.branches] + [self.otherwise.code]
        twice = sorted({code for code in codes if codes.count(code) > 1})
        if twice:
            raise ValueError(f"code {', '.join(twice)} is used twice in this block")
        return self


class ContentFile(Model):
    blocks: dict[Name, Block]


class Offer(Model):
    """Offers are tried in the order written; the first whose rule holds is made."""

    code: Code
    title: str
    when: Rule | None = None


class OffersFile(Model):
    offers: dict[Name, Offer]


# --- campaigns.yaml, experiments.yaml --------------------------------------------------------------------------------


class Campaign(Model):
    """`value` is an arithmetic expression over profile fields; among equal priorities the larger value wins."""

    title: str
    version: int = Field(default=1, ge=1, description="of the content: nobody is mailed the same version twice")
    purpose: str
    audience: Rule
    priority: int = 100
    value: str | None = None
    blocks: list[Name] = []
    offers: list[Name] = []
    experiment: Name | None = None
    destinations: list[Name] = []
    win_back: bool = Field(default=False, description="also reaches people whom the sunset leaves alone")
    quiet_hours: QuietHours | None = Field(
        default=None, description="instead of the program's; `days: []` for a campaign that need not wait"
    )
    starts: date | None = None
    ends: date | None = None


class CampaignsFile(Model):
    campaigns: dict[Name, Campaign]


class Experiment(Model):
    """A protocol. Its hash is fixed in the ledger before the first assignment; a change needs a new `version`."""

    title: str
    version: int = Field(ge=1)
    hypothesis: str
    metric: Literal["purchase_28d", "conversion"] = "purchase_28d"
    arms: dict[Name, Share] = Field(min_length=2)
    control: Name
    eligible: Rule | None = None
    salt: str

    @model_validator(mode="after")
    def _arms_add_up(self) -> Experiment:
        if abs(sum(self.arms.values()) - 1) > 1e-9:
            raise ValueError(f"the arms' shares add up to {sum(self.arms.values()):g}, not to 1")
        if self.control not in self.arms:
            raise ValueError(f"control arm '{self.control}' is not one of the arms")
        return self


class ExperimentsFile(Model):
    experiments: dict[Name, Experiment]


# --- destinations.yaml -----------------------------------------------------------------------------------------------


SCORES = ("purchase_score", "purchase_band")
"""Columns that only people have who may be scored."""


class DestinationField(Model):
    """A decision or profile column, or a link, sent under `name`; `null` says what an unknown value does there."""

    name: str
    column: str = ""
    link: Literal["preferences", "unsubscribe"] | None = Field(
        default=None, description="instead of a column: the person's own link to that page"
    )
    type: Literal["text", "number", "date"] = "text"
    max_length: int | None = None
    null: Literal["keep", "clear"] = "keep"

    @model_validator(mode="before")
    @classmethod
    def _scores_are_cleared(cls, value: Any) -> Any:
        """A platform must not go on using the score of somebody who may not be scored any more."""
        if isinstance(value, dict) and value.get("column") in SCORES:
            if value.get("null") == "keep":
                raise ValueError(
                    f"field {value.get('name')} is a score, which is cleared when a person may not be scored any more: "
                    "write null: clear, or leave it out"
                )
            return {"null": "clear", **value}
        return value

    @model_validator(mode="after")
    def _one_source(self) -> DestinationField:
        if bool(self.column) == bool(self.link):
            raise ValueError(f"field {self.name} takes either a column or a link")
        if self.link and self.type != "text":
            raise ValueError(f"field {self.name} is a link, which is a text, not a {self.type}")
        return self


class Guard(Model):
    """Mass-change guard: stop before the first request when a run would change more than this."""

    max_removed_share: Share = 0.05
    min_removed: int = 100
    max_add_factor: float = 3.0


class ResultsSettings(Model):
    """What is read back from a platform: sends, opens, clicks, bounces, complaints, opt-outs. See docs/results.md."""

    days: int = Field(
        default=30,
        ge=1,
        description="how far back the first read goes, and for how long a mailing is looked at after it was sent",
    )
    overlap_hours: int = Field(
        default=48, ge=1, description="how far each read goes back again, because platforms report some events late"
    )


class RateLimits(Model):
    """What a destination may be asked; without a setting the adapter's own limits count."""

    connections: int | None = Field(default=None, gt=0, le=64, description="requests under way at the same time")
    per_second: float | None = Field(default=None, gt=0, description="requests a second")
    per_day: int | None = Field(default=None, gt=0, description="requests a day, in the program's time zone")
    per_year: int | None = Field(default=None, gt=0, description="requests a calendar year, e.g. Salesforce's quota")
    account: Name | None = Field(
        default=None, description="destinations with the same account share its day and year; default: its own"
    )
    consistency_seconds: float | None = Field(
        default=None, ge=0, description="how long a confirmed change may take to be seen: an audit reads twice"
    )
    failures: int = Field(
        default=20, gt=0, description="requests that fail in a row before the destination is left alone for a while"
    )


class DestinationModel(Model):
    """What all destinations have. `same_contacts` lists the settings that say how the platform is reached.

    The same contacts are there whatever these are; a change of any other setting sends every contact again.
    """

    same_contacts: ClassVar[frozenset[str]] = frozenset({"base_url", "guard"})

    fields: list[DestinationField]
    guard: Guard = Guard()
    limits: RateLimits = RateLimits()
    mails: bool | None = Field(
        default=None,
        description="whether it mails the campaigns that name it, or only holds a copy; unset: a platform mails, and "
        "files beside a platform are a copy",
    )
    native_segments: list[Name] = Field(
        default=[],
        description="segments that are made there as the platform's own dynamic segments; "
        "`personalization segments native` shows which can be",
    )


class PlatformDestination(DestinationModel):
    """What destinations have that send mail themselves."""

    results: ResultsSettings | None = Field(
        default=None, description="read back what became of mailings; `{}` takes the defaults, unset: nothing is read"
    )


class CsvDestination(DestinationModel):
    platform: Literal["csv"]
    folder: str | None = Field(
        default=None,
        description="a folder, or an object-store URL such as s3://bucket/out; default: var/exports/<destination>",
    )


class MailchimpDestination(PlatformDestination):
    same_contacts: ClassVar[frozenset[str]] = frozenset({"base_url", "api_key", "guard", "new_contacts", "tags"})

    platform: Literal["mailchimp"]
    base_url: str | None = Field(default=None, description="default: from the data centre at the end of the API key")
    api_key: str = Field(description="write it as ${env:NAME}")
    list_id: str
    new_contacts: Literal["subscribed", "pending"] = Field(
        default="subscribed", description="status of contacts new to the list; existing contacts keep theirs"
    )
    tags: dict[Name, Annotated[str, Field(min_length=1, max_length=100)]] = Field(
        default={}, description="campaign: the tag that its contacts carry, and no other contact of ours"
    )


class HubspotDestination(PlatformDestination):
    same_contacts: ClassVar[frozenset[str]] = frozenset(
        {
            "base_url",
            "access_token",
            "guard",
            "api_version",
            "property_group",
            "subscription_ids",
            "legal_basis",
            "legal_basis_explanation",
            "requests_per_10_seconds",
        }
    )

    platform: Literal["hubspot"]
    base_url: str | None = Field(default=None, description="default: https://api.hubapi.com")
    access_token: str = Field(description="of a private app; write it as ${env:NAME}")
    api_version: str = Field(default="2026-03", pattern=r"^(v3|20\d\d-\d\d)$")
    property_group: Name = "personalization"
    id_property: Name = Field(default="personalization_id", description="unique property that tells customers apart")
    subscription_ids: list[Annotated[int, Field(gt=0)]] = Field(
        min_length=1, description="subscription types that an opt-out unsubscribes from"
    )
    legal_basis: (
        Literal[
            "CONSENT_WITH_NOTICE",
            "LEGITIMATE_INTEREST_CLIENT",
            "LEGITIMATE_INTEREST_OTHER",
            "LEGITIMATE_INTEREST_PQL",
            "NON_GDPR",
            "PERFORMANCE_OF_CONTRACT",
            "PROCESS_AND_STORE",
        ]
        | None
    ) = Field(default=None, description="goes with opt-outs, where the account has data privacy settings turned on")
    legal_basis_explanation: str = "The person has opted out"
    lists: dict[Name, str] = Field(default={}, description="campaign: name of the static list of its audience")
    requests_per_10_seconds: int = Field(default=190, gt=0, description="100 for Free and Starter accounts")


class ListmonkDestination(PlatformDestination):
    same_contacts: ClassVar[frozenset[str]] = frozenset(
        {"base_url", "api_user", "api_token", "guard", "new_contacts", "opt_out"}
    )

    platform: Literal["listmonk"]
    base_url: str = Field(description="of the server; write it as ${env:NAME}")
    api_user: str = Field(description="write it as ${env:NAME}")
    api_token: str = Field(description="write it as ${env:NAME}")
    list: int | str = Field(description="its number, or its name; a list with a name is made when there is none")
    attribute: str = Field(
        default="personalization",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="the subscriber's attribute that holds our values; no other program may write to it",
    )
    new_contacts: Literal["unconfirmed", "confirmed"] = Field(
        default="unconfirmed", description="subscription of contacts new to the list; existing contacts keep theirs"
    )
    opt_out: Literal["unsubscribe", "blocklist"] = Field(
        default="unsubscribe", description="what an opt-out does there: off this list, or off all lists"
    )


class ActiveCampaignDestination(PlatformDestination):
    same_contacts: ClassVar[frozenset[str]] = frozenset(
        {"base_url", "api_token", "guard", "requests_per_second", "automations"}
    )

    platform: Literal["activecampaign"]
    base_url: str = Field(description="of the account: Settings, Developer; write it as ${env:NAME}")
    api_token: str = Field(description="write it as ${env:NAME}")
    list_id: int = Field(gt=0, description="the number in the list's address: Contacts, Lists")
    requests_per_second: int = Field(default=5, gt=0, description="ActiveCampaign's limit for a whole account is 5")
    automations: bool = Field(
        default=True, description="whether bulk imports start the account's automations, as one contact after the other"
    )


class SalesforceDestination(PlatformDestination):
    """Marketing Cloud Engagement: one data extension, whose rows are contacts by their address."""

    same_contacts: ClassVar[frozenset[str]] = frozenset(
        {"base_url", "subdomain", "client_id", "client_secret", "category_id", "settle_seconds", "guard"}
    )

    platform: Literal["salesforce"]
    base_url: str | None = Field(default=None, description="instead of the subdomain's addresses, for a sandbox")
    subdomain: str = Field(pattern=r"^[A-Za-z0-9-]+$", description="of the tenant: in its API's addresses")
    client_id: str = Field(description="of the installed package; write it as ${env:NAME}")
    client_secret: str = Field(description="write it as ${env:NAME}")
    account_id: str | None = Field(default=None, description="MID of the business unit; default: the package's own")
    data_extension: str = Field(min_length=1, max_length=36, description="external key of the data extension")
    category_id: int | None = Field(
        default=None, description="folder in which a missing data extension is made; none given: it is not made"
    )
    address_column: str = "EmailAddress"
    opt_out_column: str = "OptedOut"
    settle_seconds: float = Field(
        default=300.0, ge=0, description="after a lost answer: how long a request for later may still be under way"
    )


Destination = (
    CsvDestination
    | MailchimpDestination
    | HubspotDestination
    | ListmonkDestination
    | ActiveCampaignDestination
    | SalesforceDestination
)


class DestinationsFile(Model):
    destinations: dict[Name, Annotated[Destination, Field(discriminator="platform")]]
