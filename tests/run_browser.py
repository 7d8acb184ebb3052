"""Helpers of the browser tests: a Chromium, a page with the explorer alone, and JupyterLab on loopback.

python tests/run_browser.py 09 opens that notebook as the tests do, and writes screenshots to runs/browser/.
"""

import ast
import base64
import contextlib
import io
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from toy_cells import with_toys_alone

from tools import workspace

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHOTS = ROOT / "runs" / "browser"  # git ignores runs/
PATIENCE = 600  # seconds to wait for what must come: on a busy machine it comes late, elsewhere nobody waits that long
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--no-first-run", "--disable-default-apps"]  # fmt: skip
HARMLESS = re.compile(
    r"favicon|ResizeObserver loop|service ?worker|deprecat|Plugin .*(already|optional)|404 \(Not Found\)", re.I
)


def why_not() -> str:
    """What is missing for a browser test; empty if nothing is."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "Playwright is not installed: pip install -e .[browser]"
    if chromium_path() is None:
        return "no Chromium was found: Debian and Ubuntu have one (apt install chromium)"
    return ""


def chromium_path() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


@contextlib.contextmanager
def chromium():
    """A Chromium that asks nobody for updates."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=QUIET)
        try:
            yield browser
        finally:
            browser.close()


class Watch:
    """What a page did that it should not: errors in its console, requests that leave loopback."""

    def __init__(self, page):
        self.errors, self.strangers, self.kernel_ready = [], [], False
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._asked)
        page.on("websocket", lambda socket: (self._asked(socket), socket.on("framereceived", self._heard)))

    def _said(self, message):
        if message.type == "error" and not HARMLESS.search(message.text):
            self.errors.append(message.text)

    def _asked(self, request):
        if not re.match(r"(https?|wss?)://(127\.0\.0\.1|localhost)[:/]|data:|blob:|about:", request.url):
            self.strangers.append(request.url)

    def _heard(self, frame):
        words = frame if isinstance(frame, (str, bytes)) else getattr(frame, "body", b"")
        self.kernel_ready |= (b"kernel_info_reply" if isinstance(words, bytes) else "kernel_info_reply") in words


# The explorer alone


PAGE = """<!doctype html><html><head><meta charset="utf-8"><style>%(css)s
body { margin: 8px; background: %(paper)s; --jp-ui-font-color1: %(ink)s; --jp-ui-font-color2: %(dim)s;
  --jp-layout-color1: %(paper)s; --jp-layout-color2: %(soft)s; --jp-border-color1: %(line)s; }</style></head>
<body data-jp-theme-light="%(light)s"><script type="module">
%(esm)s
const state = %(state)s;
for (const [name, text] of Object.entries(%(binary)s))
  state[name] = new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const listeners = {};
window.state = state;
window.saved = 0;
window.model = {
  get: (name) => state[name],
  set: (name, value) => {
    if (state[name] === value) return;
    state[name] = value;
    (listeners["change:" + name] ?? []).forEach((f) => f());
  },
  on: (name, f) => (listeners[name] ??= []).push(f),
  off: (name, f) => { listeners[name] = (listeners[name] ?? []).filter((g) => g !== f); },
  save_changes: () => { window.saved += 1; },
};
const el = document.createElement("div"); // as in JupyterLab, it is drawn before it stands in the page
window.stop = start({ model: window.model, el });
el.id = "here";
document.body.append(el);
</script></body></html>"""
LIGHT = dict(light="true", paper="#ffffff", ink="#212121", dim="#616161", soft="#eeeeee", line="#bdbdbd")
DARK = dict(light="false", paper="#111111", ink="#e0e0e0", dim="#aaaaaa", soft="#262626", line="#555555")


def state_of(widget) -> dict:
    """{trait: value} of a toy, those that Lab would send."""
    values = {name: getattr(widget, name) for name in widget.traits(sync=True) if name[0] != "_"}
    return {name: value for name, value in values.items() if isinstance(value, (str, int, float, bytes, list, dict))}


def page_of(toy, state: dict, theme: dict = LIGHT) -> str:
    """HTML that shows a toy, or a class of toys, without Lab and kernel, on a model object that keeps what is set."""
    esm = str(toy._esm).replace("export default { render };", "const start = render;")
    binary = {name: base64.b64encode(value).decode() for name, value in state.items() if isinstance(value, bytes)}
    plain = {name: value for name, value in state.items() if name not in binary}
    return PAGE % dict(theme, esm=esm, css=toy._css, state=json.dumps(plain), binary=json.dumps(binary))


@contextlib.contextmanager
def alone(browser):
    """A function (toy, what it has drawn once it's there, theme, width, state) -> (page, watch) of its own page."""
    contexts = []

    def open_page(toy, ready, theme=LIGHT, width=900, state=None):
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}))
        page = contexts[-1].new_page()
        watch = Watch(page)
        page.set_content(page_of(toy, state or state_of(toy), theme))
        page.wait_for_selector(ready)
        return page, watch

    yield open_page
    for context in contexts:
        context.close()


def shades(page) -> list:
    """How dark each token of the explorer is."""
    return page.evaluate("[...document.querySelectorAll('.bm-text span')].map((s) => +s.style.getPropertyValue('--w'))")


def numbers(colour: str) -> list:
    """The numbers in a colour such as rgb(1, 2, 3)."""
    return [float(v) for v in colour[colour.index("(") + 1 : -1].split(",")]


# JupyterLab


@contextlib.contextmanager
def jupyterlab(whole: bool = False):
    """(address, folder of its kernels' files) of a JupyterLab on loopback with the course's settings and notebooks.

    The notebooks are copies as readers get them; if not whole, code that no toy needs isn't run. Lab is ended with all
    that it started.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = pathlib.Path(folder)
        copies = home / "notebooks"
        copies.mkdir()
        for name in workspace.notebook_names():
            notebook = json.loads(workspace.as_handed_out(name))
            (copies / name).write_text(json.dumps(notebook if whole else with_toys_alone(notebook)), encoding="utf-8")
        workspace.write_settings(home / "prefix")
        others = home / "prefix/etc/jupyter/jupyter_server_config.d/others.json"
        others.write_text('{"ServerApp": {"jpserver_extensions": {"jupyterlab_jupytext": false}}}')  # of authors alone
        settings = home / "settings"
        for name, values in workspace.LAB_SETTINGS.items():
            package, plugin = name.split(":")
            path = settings / package / f"{plugin}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values), encoding="utf-8")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        environment = {
            **os.environ, "JUPYTER_CONFIG_PATH": str(home / "prefix/etc/jupyter"),
            "JUPYTER_CONFIG_DIR": str(home / "config"), "JUPYTER_DATA_DIR": str(home / "data"),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"), "JUPYTERLAB_SETTINGS_DIR": str(settings),
            "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"), "IPYTHONDIR": str(home / "ipython"),
            "JUPYTER_PREFER_ENV_PATH": "1", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
        }  # fmt: skip
        command = [
            sys.executable, "-m", "jupyterlab", "--no-browser", f"--ServerApp.port={port}",
            "--ServerApp.port_retries=0",
            "--ServerApp.ip=127.0.0.1", "--IdentityProvider.token=", "--ServerApp.allow_root=True",
            "--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            f"--ServerApp.root_dir={copies}",
        ]  # fmt: skip
        log = (home / "log").open("w+")
        with subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True) as server:
            try:
                address = f"http://127.0.0.1:{port}"
                _wait_for(f"{address}/api/status", server, log)
                yield address, home / "runtime"
            finally:
                os.killpg(server.pid, signal.SIGTERM)
                try:
                    server.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    os.killpg(server.pid, signal.SIGKILL)
                log.close()


def _wait_for(url, server, log, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        if server.poll() is not None:
            break
        time.sleep(0.3)
    log.seek(0)
    raise RuntimeError("JupyterLab did not start:\n" + log.read()[-3000:])


PROMPTS = """() => {
  const said = [...document.querySelectorAll(".jp-CodeCell .jp-InputPrompt")].map((node) => node.textContent);
  const count = (sign) => said.filter((words) => sign.test(words)).length;
  return { done: count(/\\[\\d+\\]/), busy: count(/\\[\\*\\]/) };
}"""


def ask_kernel(runtime: pathlib.Path, expression: str):
    """The value of an expression, a literal of Python, in the newest kernel that knows its names."""
    for file in sorted(runtime.glob("kernel-*.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        said = _asked(file, expression)
        if "data" in said:
            return ast.literal_eval(said["data"]["text/plain"])
    raise AssertionError(f"no kernel could say {expression}: {said}")


def _asked(file: pathlib.Path, expression: str) -> dict:
    """What the kernel of a connection file says to an expression."""
    from jupyter_client import BlockingKernelClient

    client = BlockingKernelClient(connection_file=str(file))
    client.load_connection_file()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE)
        reply = client.execute_interactive(
            "", silent=True, store_history=False, user_expressions={"value": expression}, timeout=PATIENCE
        )
        return reply["content"]["user_expressions"]["value"]
    finally:
        client.stop_channels()


def open_notebook(browser, address: str, name: str):
    """(page, watch) of a notebook opened in a new window."""
    page = browser.new_context(viewport={"width": 1280, "height": 1000}).new_page()
    page.set_default_timeout(1000 * PATIENCE)
    watch = Watch(page)
    page.goto(f"{address}/lab/tree/{name}?reset")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", state="attached")
    return page, watch


def open_and_run(browser, address: str, name: str, seconds: int = 3 * PATIENCE):
    """(page, watch) of a notebook opened in a new window with all its cells run."""
    page, watch = open_notebook(browser, address, name)
    end = time.monotonic() + PATIENCE
    while not watch.kernel_ready and time.monotonic() < end:  # the badge "idle" comes earlier, and Run All is then lost
        page.wait_for_timeout(200)
    assert watch.kernel_ready, "the kernel did not answer"
    page.click("text=Run >> nth=0")
    page.click('[data-command="runmenu:run-all"]')
    code = [cell["source"] for cell in saved_cells(address, name) if cell["cell_type"] == "code"]
    cells = sum(bool(source.strip()) for source in code)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        counts = page.evaluate(PROMPTS)
        if counts["done"] >= cells and not counts["busy"]:
            break
        page.wait_for_timeout(500)
    assert counts["done"] >= cells, f"{counts} of {cells} cells were run in {seconds} s"
    return page, watch


def saved_cells(address: str, name: str) -> list:
    """The cells of a notebook as they are on the server's disk."""
    with urllib.request.urlopen(f"{address}/api/contents/{name}?type=notebook", timeout=PATIENCE) as answer:
        return json.load(answer)["content"]["cells"]


def failures(page) -> list:
    """What cells wrote as errors."""
    return page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]').all_inner_texts()


class Notebooks:
    """Notebooks that were run in one Lab, one at a time: tests of one notebook that follow each other share its run."""

    def __init__(self, browser, address: str, runtime: pathlib.Path):
        self.browser, self.address, self.runtime = browser, address, runtime
        self.name, self.page, self.watch = "", None, None

    def run(self, number: str):
        """(page, watch) of the notebook of that number with all its cells run, without an error or a stranger."""
        (name,) = [path.name for path in (ROOT / "notebooks").glob(f"{number}_*.ipynb")]
        if name != self.name:
            self.close()
            self.page, self.watch = open_and_run(self.browser, self.address, name)
            self.name = name
        assert failures(self.page) == self.watch.errors == self.watch.strangers == []
        return self.page, self.watch

    def ask(self, expression: str):
        """The value of an expression in the kernel of the open notebook."""
        return ask_kernel(self.runtime, expression)

    def wait_for(self, expression: str, wanted, seconds: int = PATIENCE) -> None:
        """Wait until an expression in the kernel is as wanted."""
        for _ in range(4 * seconds):
            if (value := self.ask(expression)) == wanted:
                return
            self.page.wait_for_timeout(250)
        raise AssertionError(f"{expression} is {value!r}, {wanted!r} was wanted")

    def save_and_shut_down(self) -> str:
        """Save the open notebook, shut its kernel down, as readers do it, and close the window. Returns its name."""
        with self.page.expect_response(
            lambda answer: answer.request.method == "PUT" and "/api/contents/" in answer.url
        ) as saved:
            self.page.click('jp-button[data-command="docmanager:save"]')
        assert saved.value.ok, "the notebook was not saved"
        name = self.name
        self.close()
        return name

    def close(self) -> None:
        """Shut the kernel of the open notebook down, if there is one, and close the window."""
        if self.page is None:
            return
        self.page.click("text=Kernel >> nth=0")
        self.page.click('[data-command="kernelmenu:shutdown"]')
        end = time.monotonic() + PATIENCE
        while self.name in self.running():  # a kernel of another notebook, opened by a test alone, may go on
            assert time.monotonic() < end, "the kernel was not shut down"
            self.page.wait_for_timeout(250)
        self.page.context.close()
        self.name, self.page = "", None

    def running(self) -> list:
        """The notebooks that have a kernel."""
        with urllib.request.urlopen(f"{self.address}/api/sessions", timeout=PATIENCE) as answer:
            return [session["path"] for session in json.load(answer)]


def frames_while(page, act) -> list:
    """What a reader sees while act() runs: the frames that the browser showed, as arrays of grey values.

    A screenshot would not do: the browser finishes drawing before it takes one.
    """
    import numpy as np
    from PIL import Image

    session, frames = page.context.new_cdp_session(page), []

    def keep(event):
        frames.append(event["data"])
        session.send("Page.screencastFrameAck", {"sessionId": event["sessionId"]})

    session.on("Page.screencastFrame", keep)
    session.send("Page.startScreencast", {"format": "png"})
    act()
    session.send("Page.stopScreencast")
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("L")).astype(int) for data in frames]


def main(names) -> int:
    SHOTS.mkdir(parents=True, exist_ok=True)
    with jupyterlab(whole=True) as (address, _), chromium() as browser:
        for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
            if path.name.startswith(tuple(names)):
                page, watch = open_and_run(browser, address, path.name)
                page.screenshot(path=SHOTS / f"{path.stem}.png")
                print(path.stem, "errors:", watch.errors, "requests off loopback:", watch.strangers)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
