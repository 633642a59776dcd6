from __future__ import annotations

from pathlib import Path

import pytest

from gitops_serving.config import read_settings
from gitops_serving.core.errors import Invalid

HOME = {"HOME": "/home/ada"}


def wrong(options: dict[str, object], environ: dict[str, str] | None = None) -> Invalid:
    with pytest.raises(Invalid) as raised:
        read_settings(options, environ or HOME)
    return raised.value


def test_an_option_comes_before_its_variable() -> None:
    variables = {**HOME, "GITOPS_SERVING_REPO": "/b", "GITOPS_SERVING_BRANCH": "trunk"}

    found = read_settings({"repo": "/a", "branch": None}, variables)

    assert (found.repo, found.branch) == ("/a", "trunk")


def test_what_nobody_says_has_a_default() -> None:
    found = read_settings({"repo": "/a"}, HOME)

    assert (found.branch, found.env, found.token_file, found.prometheus) == ("main", (), None, "")
    assert found.cache_dir == Path("/home/ada/.cache/gitops-serving")
    assert read_settings({"repo": "/a"}, {"XDG_CACHE_HOME": "/c"}).cache_dir == Path("/c/gitops-serving")


def test_a_variable_names_several_environments_and_each_counts_once() -> None:
    assert read_settings({"repo": "/a"}, {**HOME, "GITOPS_SERVING_ENV": "b, a,b,"}).env == ("b", "a")
    assert read_settings({"repo": "/a", "env": ["c"]}, {**HOME, "GITOPS_SERVING_ENV": "b"}).env == ("c",)


@pytest.mark.parametrize(
    "url",
    [
        "https://ada:s3cret@example.invalid/fleet.git",
        "https://s3cret@example.invalid/fleet.git",
        "https://example.invalid/fleet.git?token=s3cret",
        "https://example.invalid/fleet.git#s3cret",
        "ssh://git:s3cret@example.invalid/fleet.git",
        "https://[s3cret/fleet.git",
    ],
)
def test_a_credential_in_an_address_is_refused_and_never_repeated(url: str) -> None:
    error = wrong({"repo": url})

    assert error.code == "credentials"
    assert "s3cret" not in str(error)
    assert "--token-file" in str(error)


@pytest.mark.parametrize("url", ["ssh://git@example.invalid/fleet.git", "git@example.invalid:fleet.git", "fleet.git"])
def test_an_address_without_a_credential_is_taken_as_it_is(url: str) -> None:
    assert read_settings({"repo": url}, HOME).repo == url


@pytest.mark.parametrize("url", ["http://ada:s3cret@127.0.0.1:9090", "http://127.0.0.1/?s3cret", "s3cret:9090"])
def test_a_wrong_address_of_prometheus_is_refused_and_never_repeated(url: str) -> None:
    assert "s3cret" not in str(wrong({"repo": "/a", "prometheus": url}))


def test_all_complaints_come_at_once(tmp_path: Path) -> None:
    error = wrong({"token_file": tmp_path / "none", "prometheus": "ftp://x"})

    assert [each.code for each in (error, *error.others)] == ["missing", "range", "missing"]
