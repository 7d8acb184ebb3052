"""Measure what a student takes on a shared server, into data/classroom.json: `make data NAME=classroom`.

Each notebook runs from top to bottom in a fresh kernel, with one thread, and once more nothing runs but JupyterLab's
server. From /proc, ten times a second: the kernel's memory, processes that it starts included. Rss is all of it; Anon
leaves out what kernels on one machine share, the files of the libraries. Linux alone. `python data/recipes/classroom.py
01 06` measures some notebooks again and keeps the others.
"""

import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import threading
import time
import urllib.request

import jupyterlab
import nbformat
import torch
from nbclient import NotebookClient

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from kernels import FORGET_WHAT_THE_READER_HAS_DONE, begin_with  # noqa: E402

FILE = ROOT / "data" / "classroom.json"
MB = 1000  # kilobytes; /proc counts 1,024 bytes a kilobyte


def with_children(pid: int) -> list[int]:
    """A process and all that it has started."""
    try:
        tasks = list(pathlib.Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []
    return [pid, *(each for child in children for each in with_children(child))]


def memory(pid: int) -> tuple[float, float]:
    """(Rss, Anon) of a process and its children now, in MB."""
    found = {"VmRSS": 0.0, "RssAnon": 0.0}
    for each in with_children(pid):
        try:
            status = pathlib.Path(f"/proc/{each}/status").read_text()
        except OSError:
            continue
        for name, kilobytes in re.findall(r"^(VmRSS|RssAnon):\s+(\d+) kB", status, re.M):
            found[name] += int(kilobytes) * 1.024 / MB
    return found["VmRSS"], found["RssAnon"]


def cpu_seconds(pid: int) -> float:
    """Seconds of computing, in all threads and in children that have ended."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


class Watch(threading.Thread):
    """The largest memory of a process until it is told to stop."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.pid, self.rss, self.anon, self.over = pid, 0.0, 0.0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self.over.wait(0.1):
            rss, anon = memory(self.pid)
            self.rss, self.anon = max(self.rss, rss), max(self.anon, anon)


def notebook_row(path: pathlib.Path) -> dict:
    """What one notebook takes."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
    )
    with client.setup_kernel():
        pid = client.km.provisioner.process.pid
        watch = Watch(pid)
        for place, cell in enumerate(notebook.cells):
            client.execute_cell(cell, place)
        used = cpu_seconds(pid)
        watch.over.set()
        watch.join()
        _, left = memory(pid)
    return {
        "notebook": path.name.split("_")[0],
        "cpu_seconds": round(used, 1),
        "peak_rss_mb": round(watch.rss),
        "peak_anon_mb": round(watch.anon),
        "anon_at_the_end_mb": round(left),
    }


def server_row() -> dict:
    """What JupyterLab's server takes when its page has been opened."""
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.token=", "--port=18888", "--allow-root"]
    with subprocess.Popen([*command, f"--notebook-dir={ROOT}"], stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(120):
                time.sleep(1)
                try:
                    urllib.request.urlopen("http://127.0.0.1:18888/lab").read()
                    break
                except OSError:
                    continue
            time.sleep(3)
            rss, anon = memory(server.pid)
            return {"rss_mb": round(rss), "anon_mb": round(anon), "jupyterlab": jupyterlab.__version__}
        finally:
            server.terminate()


def main(*numbers: str) -> None:
    known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    os.environ.update(threads, PYTHONPATH=str(ROOT))  # kernels inherit it
    begun = begin_with(FORGET_WHAT_THE_READER_HAS_DONE)
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    how = {
        "made_by": "data/recipes/classroom.py",
        "hardware": f"{cpu[1] if cpu else platform.machine()}, 1 thread a kernel",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    known = known if known.get("how") == how else {}  # numbers of another machine or version don't mix with these
    rows = {row["notebook"]: row for row in known.get("rows", [])}
    server = known["server"] if numbers and known else server_row()
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        number = path.name.split("_")[0]
        if not numbers or number in numbers:
            rows[number] = notebook_row(path)
            print(rows[number], flush=True)
            kept = {"how": how, "server": server, "rows": [rows[key] for key in sorted(rows)]}
            FILE.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    begun.cleanup()


if __name__ == "__main__":
    main(*sys.argv[1:])
