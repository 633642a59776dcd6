from __future__ import annotations

from typing import TYPE_CHECKING

from gitops_serving.local.logfile import RotatedLog

if TYPE_CHECKING:
    from pathlib import Path


def test_a_log_never_holds_more_than_two_files_of_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "0.log"
    with RotatedLog(path, limit_bytes=100) as log:
        for number in range(50):
            log.write(f"line {number:03d}\n".encode())
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["0.log", "0.log.1"]
    assert all(file.stat().st_size <= 100 for file in files)
    text = files[1].read_text(encoding="utf-8") + files[0].read_text(encoding="utf-8")
    assert text.splitlines()[-1] == "line 049"
    assert [int(line[5:]) for line in text.splitlines()] == list(range(50 - len(text.splitlines()), 50))


def test_an_open_log_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    for text in (b"one\n", b"two\n"):
        with RotatedLog(tmp_path / "0.log") as log:
            log.write(text)
    assert (tmp_path / "0.log").read_bytes() == b"one\ntwo\n"
