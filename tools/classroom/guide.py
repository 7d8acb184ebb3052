"""The tables of TEACHING.md that are counted or measured: `python -m tools.classroom.guide` writes them anew."""

import json
import pathlib
import re

from bigmodel_lib.exercises import engine

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUIDE = ROOT / "TEACHING.md"
STUDENTS = 30  # of the example
SPARE = 4  # GB for the system and the hub, a guess


def minutes_table() -> str:
    """Exercises, minutes and points of each notebook."""
    lines = ["| notebook | exercises | minutes | points |", "| --- | --- | --- | --- |"]
    for number in engine.record.notebooks():
        own = engine.entries(number).values()
        minutes, points = sum(e.minutes for e in own), sum(e.difficulty for e in own)
        lines.append(f"| {number} | {len(own)} | {minutes} | {points} |")
    return "\n".join(lines)


def measured() -> dict:
    """data/classroom.json."""
    return json.loads((ROOT / "data" / "classroom.json").read_text(encoding="utf-8"))


def server_table() -> str:
    """What was measured: seconds of computing and memory of each notebook's kernel, and of the server."""
    found = measured()
    lines = ["| | seconds of computing | GB at most | of these its own | its own when it's done |"]
    lines.append("| --- | --- | --- | --- | --- |")
    server = found["server"]
    lines.append(f"| JupyterLab's server | | {gigabytes(server['rss_mb'])} | {gigabytes(server['anon_mb'])} | |")
    for row in found["rows"]:
        sizes = (gigabytes(row[name]) for name in ("peak_rss_mb", "peak_anon_mb", "anon_at_the_end_mb"))
        lines.append(f"| {row['notebook']} | {row['cpu_seconds']:.0f} | {' | '.join(sizes)} |")
    return "\n".join(lines)


def gigabytes(megabytes: float) -> str:
    return f"{megabytes / 1000:.2f}"


EXAMPLE = """\
**Memory.** A server of JupyterLab ({server:.2f} GB), the largest kernel ({kernel:.2f} GB, in {largest}), and one left
open last time ({left:.2f} GB): {each:.2f} GB a student, {all:.0f} GB for {n}. Add {shared:.1f} GB of libraries that all
share, and {spare} GB for the system and the hub: **{total:.0f} GB**.

**Cores.** If all {n} run {slowest} from top to bottom in the same moment, that's {minutes:.0f} minutes of computing:
they wait {on_4:.0f} minutes on 4 cores, {on_8:.0f} on 8, {on_16:.0f} on 16."""


def example() -> str:
    """How large a server thirty students need, in words."""
    found = measured()
    rows = found["rows"]
    largest, slowest = (max(rows, key=lambda row, by=by: row[by]) for by in ("peak_anon_mb", "cpu_seconds"))
    server, kernel = found["server"]["anon_mb"] / 1000, largest["peak_anon_mb"] / 1000
    left = max(row["anon_at_the_end_mb"] for row in rows) / 1000
    shared = max(row["peak_rss_mb"] - row["peak_anon_mb"] for row in rows) / 1000
    everybody = STUDENTS * (server + kernel + left)
    minutes = STUDENTS * slowest["cpu_seconds"] / 60
    sizes = dict(server=server, kernel=kernel, left=left, each=server + kernel + left, all=everybody, shared=shared)
    waits = dict(minutes=minutes, on_4=minutes / 4, on_8=minutes / 8, on_16=minutes / 16)
    named = dict(n=STUDENTS, spare=SPARE, largest=largest["notebook"], slowest=slowest["notebook"])
    return EXAMPLE.format(total=everybody + shared + SPARE, **sizes, **waits, **named)


TABLES = {"minutes": minutes_table, "server": server_table, "example": example}


def filled(text: str) -> str:
    """The guide with all tables as they are now."""
    for name, table in TABLES.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.S)
        text = place.sub(lambda found, table=table: f"{found[1]}{table()}\n{found[2]}", text)
    return text


if __name__ == "__main__":
    GUIDE.write_text(filled(GUIDE.read_text(encoding="utf-8")), encoding="utf-8")
