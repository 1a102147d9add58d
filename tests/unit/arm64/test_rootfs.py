"""What of the emulated board can be tested without making one: where Debian comes from, and refusals that say why."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.arm64 import __main__ as command
from tests.arm64 import rootfs

DEB822 = """\
# http://snapshot.debian.org/archive/debian/20250520T000000Z
URIs: http://mirror.example/debian
Types: deb
Suites: bookworm
"""


@pytest.mark.parametrize(
    ("file", "text", "mirror"),
    [
        ("sources.list.d/debian.sources", DEB822, "http://mirror.example/debian"),
        (
            "sources.list",
            "deb [signed-by=/k.gpg] https://a.example/debian/ bookworm main\n",
            "https://a.example/debian",
        ),
        ("sources.list", "deb http://security.example/debian-security bookworm-security main\n", "default"),
        ("sources.list.d/node.list", "deb https://deb.example/node_20.x nodistro main\n", "default"),
    ],
)
def test_debian_comes_from_where_this_machine_gets_its_own(tmp_path: Path, file: str, text: str, mirror: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    assert rootfs.mirror_of(tmp_path) == (rootfs.DEFAULT_MIRROR if mirror == "default" else mirror)


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(rootfs.UnableError, match="needs root"):
        rootfs.check_machine()


def test_without_apt_it_names_the_tools_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda name, **_: "/usr/bin/unshare" if name == "unshare" else None)
    with pytest.raises(rootfs.UnableError, match=r"debootstrap, qemu-aarch64-static.*apt-get"):
        rootfs.check_machine()


def test_a_check_that_fails_is_a_row_and_not_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> str:
        raise ValueError("no such\nthing")

    row = command.ask("a check", broken)
    assert (row.passed, row.remark) == (False, "ValueError: no such thing")
    assert capsys.readouterr().out.startswith("FAILED  a check")
