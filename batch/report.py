"""What a run leaves to be read: one page, and one table of all edits."""

from __future__ import annotations

import importlib.util
import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any

from .columns import CLIP, NOTE
from .store import RESULTS, Store
from .work import DONE_STATE, Outcome

PAGE, TABLE = "report.html", "report"
EMBEDDED = 48 * 2**20  # bytes of moving pictures that the page carries; further ones it shows from the results' folder
SHOWN = "before_after.webp"
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #24323d; background: #f6f4ee; margin: 2rem }
h1 { font-size: 1.4rem } table { border-collapse: collapse; width: 100% }
td, th { padding: .3rem .6rem; border-bottom: 1px solid #d8d3c4; text-align: left; vertical-align: top }
th { cursor: pointer; position: sticky; top: 0; background: #f6f4ee; white-space: nowrap }
td.number { text-align: right; white-space: nowrap } tr.failed td { background: #f7dfd6 }
td.picture { min-width: 240px; max-width: 360px } img { max-width: 100% }
.sheet th, .sheet td:not(.picture) { display: none } .sheet tr { display: inline-block }
"""
SORT = """
document.querySelectorAll("th").forEach((heading, column) => heading.onclick = () => {
  const body = document.querySelector("tbody"), down = heading.dataset.down = heading.dataset.down == "1" ? "" : "1";
  const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const order = (a, b) => a !== "" && b !== "" && !isNaN(a) && !isNaN(b) ? a - b
    : (a === "") - (b === "") || a.localeCompare(b);
  [...body.rows].sort((a, b) => order(value(a), value(b)) * (down ? 1 : -1)).forEach(row => body.append(row));
});
"""


def write(store: Store, outcomes: Sequence[Outcome], title: str) -> list[str]:
    """The names of the files that were written: the page, and the table as Parquet where pyarrow is there, else as JSON
    lines."""
    ordered = sorted(outcomes, key=lambda one: one["state"] == DONE_STATE)  # failures first
    store.write(PAGE, page(store, ordered, title).encode())
    lines = [flat(outcome) for outcome in ordered]
    if importlib.util.find_spec("pyarrow"):
        name, content = f"{TABLE}.parquet", as_parquet(lines)
    else:
        name, content = f"{TABLE}.jsonl", "".join(f"{json.dumps(line)}\n" for line in lines).encode()
    store.write(name, content)
    return [PAGE, name]


def flat(outcome: Outcome) -> dict[str, Any]:
    """One line of the table: what the run says of an edit, what the user's table says of it, and its figures."""
    line = {name: outcome.get(name) for name in ("state", "sentence", "name", "where", CLIP, "seconds", "mode")}
    figures = {name: value for name, value in outcome.get("figures", {}).items() if not isinstance(value, dict)}
    return line | {f"table.{name}": value for name, value in outcome.get("table", {}).items()} | figures


def as_parquet(lines: Sequence[dict[str, Any]]) -> bytes:
    """A file with a column for every name; where its values are of several kinds they are texts."""
    from pyarrow import Table, parquet

    names = dict.fromkeys(name for line in lines for name in line)
    values = {name: [line.get(name) for line in lines] for name in names}
    alike = {name: some if len({type(value) for value in some} - {type(None)}) < 2 else [*map(_text, some)]
             for name, some in values.items()}  # fmt: skip
    file = BytesIO()
    parquet.write_table(Table.from_pydict(alike), file)
    return file.getvalue()


def page(store: Store, outcomes: Sequence[Outcome], title: str) -> str:
    """HTML that needs nothing beside it while its pictures are few."""
    columns = list(dict.fromkeys(name for one in outcomes for name in one.get("table", {})))
    figures = list(dict.fromkeys(name for one in outcomes for name in _numbers(one)))
    headings = [
        "state",
        "before and after",
        CLIP,
        *(name.removeprefix(NOTE) for name in columns),
        *figures,
        "seconds",
        "mode",
    ]
    pictures = Pictures(store)
    rows = "\n".join(_row(one, columns, figures, pictures) for one in outcomes)
    failures = sum(one["state"] != DONE_STATE for one in outcomes)
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>
<h1>{escape(title)}</h1>
<p>{len(outcomes)} edits, {failures} of them not done. A click on a heading sorts by it.
<button onclick="document.body.classList.toggle('sheet')">contact sheet</button></p>
<table><thead><tr>{"".join(f"<th>{escape(name)}</th>" for name in headings)}</tr></thead>
<tbody>
{rows}
</tbody></table>
<script>{SORT}</script>
</html>
"""


class Pictures:
    """The moving pictures of a page, in it while there is room."""

    def __init__(self, store: Store) -> None:
        self.store, self.room = store, EMBEDDED

    def __call__(self, outcome: Outcome) -> str:
        if SHOWN not in outcome.get("files", ()):
            return ""
        source = f"{RESULTS}/{outcome['name']}/{SHOWN}"
        if self.room > 0:
            content = self.store.read(source) or b""
            self.room -= len(content)
            source = f"data:image/webp;base64,{b64encode(content).decode()}"
        video = next((file for file in outcome["files"] if file.startswith("edited")), SHOWN)
        link = f"{RESULTS}/{outcome['name']}/{video}"
        return f'<a href="{escape(link)}"><img loading="lazy" src="{source}" alt="before and after"></a>'


def _row(outcome: Outcome, columns: Iterable[str], figures: Iterable[str], pictures: Pictures) -> str:
    done, numbers, table = outcome["state"] == DONE_STATE, _numbers(outcome), outcome.get("table", {})
    shown = pictures(outcome) if done else escape(f"{outcome['where']}: {outcome['sentence']}")
    title = escape(str(table.get("target_prompt", "")))
    cells = [
        f'<td>{outcome["state"]}</td><td class="picture" title="{title}">{shown}</td>',
        f'<td title="{escape(outcome[CLIP])}">{escape(PurePosixPath(outcome[CLIP]).name)}</td>',
        *(f"<td>{escape(_text(table.get(name)))}</td>" for name in columns),
        *(_number(numbers.get(name)) for name in figures),
        _number(outcome.get("seconds")),
        f"<td>{escape(outcome.get('mode', ''))}</td>",
    ]
    return f'<tr class="{outcome["state"]}">{"".join(cells)}</tr>'


def _number(value: float | None) -> str:
    shown = "" if value is None else f"{value:.4g}"
    return f'<td class="number" data-value="{"" if value is None else value}">{shown}</td>'


def _numbers(outcome: Outcome) -> dict[str, float]:
    return {name: value for name, value in outcome.get("figures", {}).items() if isinstance(value, int | float)}


def _text(value: Any) -> str:
    return "" if value is None else str(value)
