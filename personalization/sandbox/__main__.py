"""`python -m personalization.sandbox mailchimp`: a platform's stand-in in the foreground, until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from personalization.errors import PersonalizationError
from personalization.sandbox.server import serve


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m personalization.sandbox", description=__doc__)
    platform = parser.add_subparsers(dest="platform", required=True).add_parser("mailchimp")
    platform.add_argument("--api-key", default="sandbox-key-us1", help="the key that is let in")
    platform.add_argument("--list-id", default="demo000001", help="the list (audience) there is")
    platform.add_argument("--port", type=int, default=0, help="0 takes a free one")
    platform.add_argument("--state", type=Path, help="SQLite file to keep the state in")
    platform.add_argument("--batch-seconds", type=float, default=0.2, help="how long a batch waits in the queue")
    platform.add_argument("--latency", type=float, default=0.0, help="seconds that every request takes at least")
    platform.add_argument("--until-input-ends", action="store_true", help="stop when standard input is closed")
    settings = vars(parser.parse_args())
    try:
        serve(**settings)
    except PersonalizationError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
