"""A systemd unit that runs a bundle for good: started again when it fails or hangs, with as few rights as it needs.

What each line means is in systemd.service(5), systemd.exec(5) and systemd.resource-control(5).
``MemoryDenyWriteExecute`` is left out, since interpreters may make machine code while they run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tamiyo_runtime.contracts.document import require

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_MEMORY = re.compile(r"[1-9][0-9]*[KMGT]?")
_HOMES = ("/home/", "/root/", "/run/user/")
_TEMPORARY = ("/tmp/", "/var/tmp/")  # noqa: S108  not written to: a service has its own
_ALWAYS = """\
NoNewPrivileges=yes
ProtectSystem=strict
PrivateTmp=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
ProtectProc=invisible
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
CapabilityBoundingSet=
AmbientCapabilities=
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
UMask=0077
LimitCORE=0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What goes into a unit.

    ``command``: program and arguments. ``reads``: files that it needs. ``writes``: folders that it changes, beside
    ``/var/lib/NAME``, its state folder. ``user`` None: one that systemd makes up. ``device``: a device node that it
    reads, as ``/dev/ttyUSB0``. ``memory_max``: bytes, or with K, M, G.
    """

    name: str
    description: str
    command: tuple[str, ...]
    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()
    user: str | None = None
    device: str | None = None
    memory_max: str = "512M"
    watchdog_s: float = 30.0

    def __post_init__(self) -> None:
        require(_NAME.fullmatch(self.name) is not None, "name", f"{self.name!r} cannot name a unit and a folder")
        require(self.user is None or _USER.fullmatch(self.user) is not None, "user", f"{self.user!r} is no user name")
        require(_MEMORY.fullmatch(self.memory_max) is not None, "memory-max", f"{self.memory_max!r}; as in 512M")
        require(self.watchdog_s >= 2, "watchdog-s", f"must be 2 or more, got {self.watchdog_s:g}")

    @property
    def state_dir(self) -> Path:
        """Where the service may write."""
        return Path("/var/lib") / self.name

    def text(self) -> str:
        """The unit file."""
        needed = [Path(self.command[0]), *self.reads, *self.writes]
        foreign = [path for path in self.writes if path != self.state_dir]
        at_home = [path for path in needed if str(path).startswith(_HOMES)]
        lost = [path for path in needed if str(path).startswith(_TEMPORARY)]
        lines = [
            f"# {self.name}.service, made by tamiyo service print. To install it:",
            f"#   tamiyo service print ... | sudo tee /etc/systemd/system/{self.name}.service",
            f"#   sudo systemctl daemon-reload && sudo systemctl enable --now {self.name}",
            *(f"# {path} has to move: the service has a temporary folder of its own." for path in lost),
            *(f"# {path} is in a home folder: see that the service's user may read it." for path in at_home),
            *(
                f"# {path} has to belong to the service's user: name one with --user."
                for path in foreign
                if not self.user
            ),
            "[Unit]",
            f"Description={_plain(self.description)}",
            "Wants=network-online.target",
            "After=network-online.target",
            "StartLimitIntervalSec=300",
            "StartLimitBurst=5",
            "",
            "[Service]",
            "Type=notify",
            "NotifyAccess=main",
            f"ExecStart={' '.join(quoted(word) for word in self.command)}",
            "ExecReload=/bin/kill -HUP $MAINPID",
            "Restart=on-failure",
            "RestartSec=5",
            # A mistake in the command, a missing package, a wrong signature: trying again mends none of them.
            "RestartPreventExitStatus=2 3 4 5 6",
            f"WatchdogSec={self.watchdog_s:g}",
            "TimeoutStartSec=120",
            "TimeoutStopSec=45",
            *([f"User={self.user}"] if self.user else ["DynamicUser=yes"]),
            f"StateDirectory={self.name}",
            "StateDirectoryMode=0700",
            f"Environment=TAMIYO_HOME={self.state_dir}",
            "Environment=OMP_NUM_THREADS=1",
            f"MemoryMax={self.memory_max}",
            # The process that tries a bundle may run out of memory; that must end it alone.
            "OOMPolicy=continue",
            "TasksMax=64",
            f"ProtectHome={'read-only' if at_home else 'yes'}",
            *(f"ReadWritePaths={quoted(str(path))}" for path in foreign),
            *self._devices(),
            *_ALWAYS.splitlines(),
            "",
            "[Install]",
            "WantedBy=multi-user.target",
        ]
        return "\n".join(lines) + "\n"

    def _devices(self) -> Sequence[str]:
        if self.device is None:
            return ["PrivateDevices=yes"]
        return ["DevicePolicy=closed", f"DeviceAllow={self.device} rw", "SupplementaryGroups=dialout"]


def quoted(word: str) -> str:
    """A word of a command line as systemd reads it: ``%`` and ``$`` doubled, quotes where it would be taken apart."""
    word = word.replace("%", "%%").replace("$", "$$")
    if re.fullmatch(r"[A-Za-z0-9_@%+=:,./$?&~-]+", word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("%", "%%")
