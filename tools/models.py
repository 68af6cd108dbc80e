"""`python dev.py models`: what each family of models supports, as the families state it, into docs/models.md."""

from __future__ import annotations

import re

from .environment import ROOT
from .pack import use_host

FILE = ROOT / "docs" / "models.md"
TABLE = re.compile(r"^\|.*\|\n(?:\|.*\|\n)+", re.MULTILINE)


def table() -> str:
    """A row for each feature, a column for each family."""
    use_host()
    from ..videop2p_core.host.families.support import Feature
    from ..videop2p_core.host.families.table import FAMILIES

    rows = [["", *(family.name for family in FAMILIES)], ["---"] * (len(FAMILIES) + 1)]
    rows += [[feature, *("yes" if feature in family.supports else "" for family in FAMILIES)] for feature in Feature]
    rows.append(["inversions", *(", ".join(family.inversions) for family in FAMILIES)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def present() -> str:
    """docs/models.md as it is to be."""
    return TABLE.sub(lambda _: table(), FILE.read_text(encoding="utf-8"), count=1)


if __name__ == "__main__":
    FILE.write_text(present(), encoding="utf-8")
    print(f"written: {FILE}")
