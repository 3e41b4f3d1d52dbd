"""A throw-away JupyterLab on loopback: its own port, token, settings and copy of the notebooks."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from tests import offline

REPOSITORY = Path(__file__).resolve().parents[2]
USER_SETTINGS = REPOSITORY / "binder" / "overrides.json"
NOTEBOOK_FOLDERS = ("chapters", "labs")
PICTURES = "book/_static"  # what notebooks show by a relative address
START_SECONDS = 90
IDLE_SECONDS = 900  # a server whose owner was killed outright ends itself after this long

# What a picture of a whole notebook needs beyond the settings that users get.
TEST_SETTINGS = {
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none", "scrollPastEnd": False},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def lab_settings() -> dict:
    """Return the settings that users get (the repository's `binder/overrides.json`) with those of the test added."""
    settings = json.loads(USER_SETTINGS.read_text(encoding="utf-8"))
    for plugin, values in TEST_SETTINGS.items():
        settings[plugin] = {**settings.get(plugin, {}), **values}
    return settings


def kernel_environment(home: Path) -> dict[str, str]:
    """Return the environment of server and kernels: cut off, one thread, none of the user's settings."""
    cut_off = offline.environment()
    fresh = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    for folder in fresh.values():
        Path(folder).mkdir(parents=True)
    return {
        **cut_off,
        **fresh,
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "user-settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([cut_off["PYTHONPATH"], str(REPOSITORY)]),
    }


class JupyterServer:
    """JupyterLab on a copy of some notebook folders, as a context manager.

    Attributes (after entering): `url` (no trailing slash), `token`, `root` (the copy that it serves).

    Raises:
        RuntimeError: the server ended, or did not answer within `START_SECONDS`; the message holds its log's end.
    """

    def __init__(self, folders: dict[str, Path] | None = None, extra_environment: dict[str, str] | None = None):
        self.folders = folders or {name: REPOSITORY / name for name in NOTEBOOK_FOLDERS}
        self.extra_environment = extra_environment or {}
        self.token = secrets.token_hex(24)
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> JupyterServer:
        self.home = Path(tempfile.mkdtemp(prefix="lab-in-browser-"))
        try:
            self._copy_notebooks()
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _copy_notebooks(self) -> None:
        """Copy the folders, so that running and saving never touches the checkout."""
        self.root = self.home / "root"
        self.root.mkdir()
        for name, folder in {PICTURES: REPOSITORY / PICTURES, **self.folders}.items():
            if folder.is_dir():
                ignored = shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__")
                shutil.copytree(folder, self.root / name, ignore=ignored)

    def _start(self) -> None:
        settings = self.home / "app-settings"
        settings.mkdir()
        (settings / "overrides.json").write_text(json.dumps(lab_settings()), encoding="utf-8")
        environment = {**kernel_environment(self.home), **self.extra_environment}
        port = free_port()
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser"]
        command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
        command += [f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={self.root}"]
        command += [
            f"--LabApp.app_settings_dir={settings}",
            "--LabApp.news_url=",
            "--LabApp.extension_manager=readonly",
        ]
        command += [f"--ServerApp.shutdown_no_activity_timeout={IDLE_SECONDS}"]
        command += [f"--MappingKernelManager.cull_idle_timeout={IDLE_SECONDS}"]
        self.log = self.home / "server.log"
        with self.log.open("wb") as sink:
            # A session of its own: an interrupt from the keyboard reaches only this process, which closes the server.
            self.process = subprocess.Popen(
                command, cwd=self.root, env=environment, stdout=sink, stderr=sink, start_new_session=True
            )
        self.url = f"http://127.0.0.1:{port}"
        self._wait_until_it_answers()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/api?token={self.token}", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.2)
        tail = self.log.read_text(encoding="utf-8", errors="replace")[-3000:]
        raise RuntimeError(f"JupyterLab did not answer on {self.url} within {START_SECONDS} s. Its log ends:\n{tail}")

    def close(self) -> None:
        """End the server and its kernels, and delete everything it wrote."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(timeout=15)
        shutil.rmtree(self.home, ignore_errors=True)
