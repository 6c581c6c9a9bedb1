"""Imports: how many new contacts get to listmonk, how others join the list, and how old versions take changes.

An import either adds, or rewrites attributes: the parameters of the two exclude each other, and listmonk runs one at a
time. What it does to a row is in a log that people read, so the subscribers themselves are read afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from personalization.ledger.outbox import Outcome
from personalization.program.models import ListmonkDestination
from personalization.stages.export.adapters.base import Batch, Prepared
from personalization.stages.export.adapters.listmonk_files import (
    adding_file,
    adding_params,
    rewriting_file,
    rewriting_params,
    skipped_lines,
)
from personalization.stages.export.adapters.listmonk_server import BUSY_SECONDS, Server
from personalization.stages.export.adapters.listmonk_shapes import Subscriber
from personalization.stages.export.adapters.sending import Sending

SINGLE_ROWS = 50  # up to this many new contacts are added one by one: an import mails the administrators each time
FILE_PREFIX = "personalization-"

Row = tuple[Prepared, Subscriber | None]


class Imports:
    """The imports of one export. Not to be shared between threads."""

    def __init__(self, server: Server, destination: ListmonkDestination, name: str) -> None:
        self._server, self._destination, self._name = server, destination, name
        self._adding_works = self._rewriting_works = True
        self._lines: dict[str, list[int]] = {}
        self._rewriting: set[str] = set()
        self._left: set[int] = set()

    def begin(self, rows: Sequence[Row], batch: Batch, sending: Sending) -> str | None:
        """Import who needs it. What can't be, or not now, becomes an outcome. Returns the file's name.

        Who is new, when they are many; who is there but not on the list; whose attributes can't be changed otherwise.
        """
        new = [row for row in rows if row[1] is None and row[0].request.values is not None]
        joining = [row for row in rows if row[1] and row[0].request.values is not None and not row[1].joined]
        changing = [row for row in rows if row[1] and row not in joining and self._needs_rewriting(row)]
        if len(new) <= SINGLE_ROWS or self._server.sends_optins or not self._adding_works:
            new = []
        if joining and not self._adding_works:
            joining = self._give_up(joining, sending, "listmonk's import failed, and nothing else subscribes anybody")
        if changing and not self._rewriting_works:
            changing = self._give_up(changing, sending, "listmonk's import changed nothing, and nothing else would")
        if not (new or joining or changing):
            return None
        if self._server.importing():
            # somebody else's: new contacts are added one by one meanwhile, the others wait
            waiting = [*joining, *changing]
            sending.outcomes += [Outcome(row.contact.id, "planned", "another import runs") for row, _ in waiting]
            sending.waits += [BUSY_SECONDS] * bool(waiting)
            return None
        receipt = f"{FILE_PREFIX}{self._name}-{batch.run:06d}-{batch.number}.csv"
        if new or joining:
            sending.outcomes += [Outcome(row.contact.id, "planned", "after an import") for row, _ in changing]
            self._add([*new, *joining], receipt, batch)
        else:
            self._rewrite(changing, receipt, batch)
        return receipt

    def waits(self, receipt: str | None, row: Row) -> bool:
        """Whether an import does all that can be done for a row now."""
        if receipt is None or row[0].contact.id not in self._lines[receipt]:
            return False
        return row[1] is None or receipt in self._rewriting or not self.can_patch(row[1])

    def includes(self, receipt: str | None, row_id: int) -> bool:
        return receipt is not None and row_id in self._lines[receipt]

    def leave_out(self, row_id: int) -> None:
        """Its outcome is known before that of the import."""
        self._left.add(row_id)

    def can_patch(self, known: Subscriber) -> bool:
        """Whether a subscriber can be changed alone, and without listmonk mailing them."""
        return not known.asked and self._server.patches

    def begun(self, receipt: str) -> list[int]:
        """The rows of an import, in the order of its file."""
        return [row_id for row_id in self._lines[receipt] if row_id not in self._left]

    def finish(self, receipt: str, rows: Sequence[Row], arrived: Mapping[int, bool]) -> list[Outcome]:
        """What came of an import that does not run any more, for the rows of `begun`."""
        lines, rewriting = self._lines.pop(receipt), receipt in self._rewriting
        self._rewriting.discard(receipt)
        self._left.clear()
        stats = self._server.import_stats()
        finished = stats["name"] == receipt and stats["status"] == "finished"
        skipped = skipped_lines(self._server.import_log()) if finished else {}
        reasons = {row_id: skipped[line] for line, row_id in enumerate(lines, start=1) if line in skipped}
        if rewriting and not any(arrived.values()):
            self._rewriting_works = False
        outcomes = []
        for row, known in rows:
            row_id = row.contact.id
            if arrived[row_id]:
                outcomes.append(Outcome(row_id, "acked"))
            elif row_id in reasons:
                outcomes.append(Outcome(row_id, "rejected", self._server.http.redact(reasons[row_id])))
            else:
                # stopped, or failed as a whole: row by row tells more; or somebody added them a moment before
                if not rewriting:
                    self._adding_works = self._adding_works and known is not None and known.joined
                outcomes.append(Outcome(row_id, "planned"))
        return outcomes

    def _needs_rewriting(self, row: Row) -> bool:
        known, wanted = row[1], row[0].request
        return known is not None and known.usable and not known.shows(wanted) and not self.can_patch(known)

    def _add(self, rows: Sequence[Row], receipt: str, batch: Batch) -> None:
        content = adding_file(self._destination, [(row.request, known) for row, known in rows])
        params = adding_params(self._destination, self._server.list_id)
        self._server.start_import(receipt, params, content, batch.deadline)
        self._lines[receipt] = [row.contact.id for row, _ in rows]

    def _rewrite(self, rows: Sequence[Row], receipt: str, batch: Batch) -> None:
        content = rewriting_file(self._destination, [(row.request, known) for row, known in rows if known])
        params = rewriting_params(self._server.list_id, self._server.version)
        self._server.start_import(receipt, params, content, batch.deadline)
        self._lines[receipt] = [row.contact.id for row, _ in rows]
        self._rewriting.add(receipt)

    def _give_up(self, rows: Sequence[Row], sending: Sending, reason: str) -> list[Row]:
        sending.outcomes += [
            # opted out already: that must not fail because of a value
            Outcome(row.contact.id, "acked") if row.request.opts_out else Outcome(row.contact.id, "rejected", reason)
            for row, _ in rows
        ]
        return []
