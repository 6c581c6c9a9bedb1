"""`python -m personalization.sandbox PLATFORM`: a platform's stand-in in the foreground, until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from personalization.errors import PersonalizationError
from personalization.sandbox.server import PLATFORMS, serve


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m personalization.sandbox", description=__doc__)
    parser.add_argument("platform", choices=sorted(PLATFORMS))
    parser.add_argument("--api-key", default="sandbox-key-us1", help="the key that is let in")
    parser.add_argument("--list-id", default="demo000001", help="the list (audience) there is")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--state", type=Path, help="SQLite file to keep the state in")
    parser.add_argument(
        "--batch-seconds", type=float, default=0.2, help="how long the platform works on what it takes its time for"
    )
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that every request takes at least")
    parser.add_argument("--until-input-ends", action="store_true", help="stop when standard input is closed")
    settings = vars(parser.parse_args())
    try:
        serve(**settings)
    except PersonalizationError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
