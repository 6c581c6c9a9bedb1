"""dbt's command line in a process that ends when the one that started it ends, even by SIGKILL.

Left to itself, dbt would build on after its starter was killed, and write one day's features under a rerun for another.
It is run as a file (`python -P dbt_process.py build …`): importing the package would cost a third of a second.
"""

from __future__ import annotations

import os
import sys
import threading
import time

STARTER_VARIABLE = "PERSONALIZATION_DBT_STARTER"


def _end_with(starter: int) -> None:
    while os.getppid() == starter:
        time.sleep(0.2)
    os._exit(1)  # at once and from any thread: DuckDB rolls back what was not committed


def main() -> None:
    """Run dbt with the arguments of this process, watching the starter that the environment names."""
    starter = os.environ.get(STARTER_VARIABLE)
    if starter:
        threading.Thread(target=_end_with, args=(int(starter),), daemon=True).start()
    from dbt.cli.main import cli

    sys.exit(cli())


if __name__ == "__main__":
    main()
