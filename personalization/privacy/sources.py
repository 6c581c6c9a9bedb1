"""Source files: the company's own, not ours to change. We say which of them still name a person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from personalization.demo import is_demo
from personalization.privacy.needles import Needle
from personalization.privacy.scan import scan
from personalization.program.models import FilesSource

if TYPE_CHECKING:
    from personalization.runtime import Runtime


def source_folders(runtime: Runtime) -> list[Path]:
    """Local folders from which the program reads files."""
    return sorted(
        {
            (runtime.workspace.root / source.location).resolve()
            for source in runtime.program.sources.values()
            if isinstance(source, FilesSource) and ":" not in source.location
        }
    )


def sources_inside(runtime: Runtime) -> list[Path]:
    """Source folders within the state folder; and in the demo what its stand-in for a platform holds."""
    state = runtime.workspace.state.resolve()
    stand_in = [runtime.workspace.state / "demo"] if is_demo(runtime) else []
    return [*(folder for folder in source_folders(runtime) if state in folder.parents), *stand_in]


def sources_that_name(runtime: Runtime, needles: Sequence[Needle]) -> list[str]:
    """Source files in which a value was found, relative to the workspace where they are in it."""
    found: set[str] = set()
    for folder in source_folders(runtime):
        if not folder.is_dir():
            continue
        for hit in scan(folder, needles).hits:
            path = folder / hit.path
            root = runtime.workspace.root.resolve()
            found.add(str(path.relative_to(root) if root in path.parents else path))
    return sorted(found)
