"""What the demonstration refuses before it starts anything; the story itself is told in tests/e2e."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from gitops_serving.cli import demo as module
from gitops_serving.cli import demo_place
from gitops_serving.cli.demo import demo


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise AssertionError("a process was started")

    monkeypatch.setattr(module, "start", fail)


def test_a_directory_that_is_in_use_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").write_text("years of work", encoding="utf-8")

    assert demo(tmp_path) == 1

    assert "is not empty; choose another directory" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_place_that_is_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()

    assert demo(tmp_path / "file") == 1

    assert "cannot be used" in capsys.readouterr().err


def test_without_git_the_demonstration_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert demo(tmp_path / "demo") == 1

    assert "needs the git command, which is not on PATH; install git" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_the_demonstration_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "kserve" else there(name))

    assert demo(tmp_path / "demo") == 1

    assert "packages that are missing: kserve; run: pip install 'gitops-serving[local]'" in capsys.readouterr().err


def test_a_path_too_long_for_sockets_keeps_the_clusters_state_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="gs-") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        place = tmp_path / ("long" * 25)
        place.mkdir()

        state = demo_place.state_dir(place)

        assert state.root.parent == Path(short)
        assert (place / "state").resolve() == state.root.resolve()
        assert len(os.fsencode(state.run)) < 90
