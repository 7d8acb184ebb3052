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


def example() -> str:
    """How large a server thirty students need."""
    found = measured()
    rows, server = found["rows"], found["server"]["anon_mb"] / 1000
    kernel = max(row["peak_anon_mb"] for row in rows) / 1000
    forgotten = max(row["anon_at_the_end_mb"] for row in rows) / 1000
    shared = max(row["peak_rss_mb"] - row["peak_anon_mb"] for row in rows) / 1000
    each = server + kernel + forgotten
    total = STUDENTS * each + shared + SPARE
    slowest = max(rows, key=lambda row: row["cpu_seconds"])
    computing = STUDENTS * slowest["cpu_seconds"] / 60
    return "\n".join(
        [
            f"**Memory.** JupyterLab's server ({server:.2f} GB), the largest kernel ({kernel:.2f} GB), and one left open",
            f"last time ({forgotten:.2f} GB): {each:.2f} GB a student, {STUDENTS * each:.0f} GB for {STUDENTS}.",
            f"Add {shared:.1f} GB of libraries, which all share, and {SPARE} GB for the system and the hub: **{total:.0f} GB**.",
            "",
            f"**Cores.** If all {STUDENTS} run {slowest['notebook']} from top to bottom in the same moment, that's",
            f"{computing:.0f} minutes of computing: they wait {computing / 4:.0f} minutes on 4 cores, {computing / 8:.0f} on 8,",
            f"{computing / 16:.0f} on 16.",
        ]
    )


TABLES = {"minutes": minutes_table, "server": server_table, "example": example}


def filled(text: str) -> str:
    """The guide with all tables as they are now."""
    for name, table in TABLES.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.S)
        text = place.sub(lambda found, table=table: f"{found[1]}{table()}\n{found[2]}", text)
    return text


if __name__ == "__main__":
    GUIDE.write_text(filled(GUIDE.read_text(encoding="utf-8")), encoding="utf-8")
