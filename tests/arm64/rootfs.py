"""A Debian 12 folder for aarch64, the base of Raspberry Pi OS Bookworm, and commands in it under user-mode emulation.

Made once with debootstrap and kept; commands run by chroot, with qemu between their instructions and this processor.
They share this machine's kernel and network, so a broker outside is at 127.0.0.1 inside too. Every command gets mounts
of its own that end with it. It is no virtual machine and no sandbox, and its timings say nothing of a board.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SUITE = "bookworm"
PACKAGES = "python3,python3-venv,ca-certificates"
HOST_PACKAGES = ("debootstrap", "qemu-user-static", "binfmt-support", "mosquitto")
TOOLS = ("debootstrap", "qemu-aarch64-static", "unshare", "mosquitto")
_BINFMT = Path("/proc/sys/fs/binfmt_misc")
DEFAULT_MIRROR = "http://deb.debian.org/debian"
_LOOK_EVERY_S = 0.02
_ENTER = 'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"'


class UnableError(Exception):
    """This machine cannot do it; the message says what it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a command inside."""

    code: int
    stdout: str
    stderr: str
    wall_s: float
    peak_mib: float
    """Peak resident memory of the emulator's process as last seen before its end: the program's and qemu's own."""


@dataclass(frozen=True, slots=True)
class Root:
    """A finished root folder."""

    folder: Path

    def run(self, *command: str, environment: Mapping[str, str] | None = None, timeout_s: float = 1800.0) -> Outcome:
        """Run a command inside and wait for it; raises subprocess.TimeoutExpired."""
        started_s = time.monotonic()
        child = self.start(*command, environment=environment)
        peaks_kib = [0]
        watcher = threading.Thread(target=_watch, args=(child, peaks_kib), daemon=True)
        watcher.start()
        try:
            stdout, stderr = child.communicate(timeout=timeout_s)
        finally:
            child.kill()
            child.wait()
        watcher.join()
        return Outcome(
            code=child.returncode,
            stdout=stdout,
            stderr=stderr,
            wall_s=time.monotonic() - started_s,
            peak_mib=max(peaks_kib) / 1024,
        )

    def start(self, *command: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command inside; its process is the emulator's."""
        clean = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8", **(environment or {})}
        return subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", _ENTER, str(self.folder), *command],
            env=clean,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def path(self, inside: str) -> Path:
        """Where a path of the inside is for this machine."""
        return self.folder / inside.lstrip("/")


def _watch(child: subprocess.Popen[str], peaks_kib: list[int]) -> None:
    """Note the peak of a process while it lives. What `wait4` tells is at least the size of its parent."""
    while child.returncode is None:
        with contextlib.suppress(OSError):
            found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{child.pid}/status").read_text(), re.MULTILINE)
            peaks_kib.append(int(found[1]) if found else 0)
        time.sleep(_LOOK_EVERY_S)


def make(folder: Path, mirror: str | None = None) -> Root:
    """The root folder, made when it is not there yet; a started one is begun anew. Raises UnableError."""
    check_machine()
    _enable_emulation()
    ready = folder / ".ready"
    if not ready.exists():
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        mirror = mirror or mirror_of(Path("/etc/apt"))
        print(f"making {folder} from {mirror}: some minutes, once", file=sys.stderr)
        log = folder.with_suffix(".log")
        options = ("--arch=arm64", "--foreign", "--variant=minbase", f"--include={PACKAGES}")
        stages = (
            ["debootstrap", *options, SUITE, str(folder), mirror],
            ["chroot", str(folder), "/debootstrap/debootstrap", "--second-stage"],
        )
        with log.open("wb") as file:
            for stage in stages:
                # debootstrap mounts /proc inside: in a namespace of its own, so that nothing stays mounted
                if subprocess.run(["unshare", "--mount", *stage], stdout=file, stderr=file, check=False).returncode:
                    raise UnableError(f"{stage[0]} failed, see {log}; is {mirror} reachable?")
        shutil.rmtree(folder / "var/cache/apt/archives", ignore_errors=True)
        ready.touch()
    root = Root(folder)
    machine = root.run("uname", "-m")
    if machine.stdout.strip() != "aarch64":
        raise UnableError(
            f"a program of aarch64 does not start in {folder}: {machine.stderr.strip() or machine.stdout!r}"
        )
    return root


def check_machine() -> None:
    """Raise UnableError, with what to do, where a root folder can be neither made nor entered."""
    if sys.platform != "linux":
        raise UnableError(f"this needs Linux, and this is {sys.platform}")
    if os.geteuid() != 0:
        raise UnableError("making and entering a root folder needs root, as in a virtual machine")
    missing = [tool for tool in TOOLS if shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise UnableError(
            f"{', '.join(missing)} not found, and no apt-get to install them: this needs Debian or Ubuntu"
        )
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *HOST_PACKAGES]):
        if subprocess.run(["apt-get", "-qq", *command], stdout=subprocess.DEVNULL, env=quiet, check=False).returncode:
            raise UnableError(f"{', '.join(missing)} not found; apt-get install {' '.join(HOST_PACKAGES)} failed")


def mirror_of(apt: Path) -> str:
    """The archive that this machine's packages come from when it runs Debian, else Debian's own.

    ``apt`` is a folder such as /etc/apt, with sources.list or sources.list.d in either of apt's two forms.
    """
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    text = "\n".join(file.read_text() for file in files if file.is_file())
    found = re.findall(r"^(?:URIs:|deb)\s+(?:\[.*?\]\s+)?(http\S+/debian)/?(?:\s|$)", text, re.MULTILINE)
    return str(found[0]) if found else DEFAULT_MIRROR


def _enable_emulation() -> None:
    """Let the kernel hand programs of aarch64 to qemu."""
    if not os.path.ismount(_BINFMT):
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(_BINFMT)], check=False, capture_output=True)
    if not (_BINFMT / "qemu-aarch64").exists() and shutil.which("update-binfmts"):
        subprocess.run(["update-binfmts", "--enable", "qemu-aarch64"], check=False, capture_output=True)
    if not (_BINFMT / "qemu-aarch64").exists():
        raise UnableError("the kernel hands aarch64 to no emulator: it needs binfmt_misc and qemu-user-static")
