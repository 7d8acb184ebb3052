"""What every kernel that runs the notebooks for us begins with."""

import os
import pathlib
import tempfile

CLOSE_THE_NETWORK = """
import socket
_connect = socket.socket.connect
def connect(self, address):
    if self.family != getattr(socket, "AF_UNIX", None) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise RuntimeError(f"the network was used: {address}")
    return _connect(self, address)
socket.socket.connect = connect
"""
FORGET_WHAT_THE_READER_HAS_DONE = """
from bigmodel_lib.exercises import record
record.kept_in = lambda: None
"""


def begin_with(*programs: str) -> tempfile.TemporaryDirectory:
    """Let every kernel started from here on run some programs first; cleaning the folder up ends that."""
    folder = tempfile.TemporaryDirectory()
    startup = pathlib.Path(folder.name) / "profile_default/startup"
    startup.mkdir(parents=True)
    for i, program in enumerate(programs):
        (startup / f"{i:02d}.py").write_text(program)
    os.environ["IPYTHONDIR"] = folder.name
    return folder
