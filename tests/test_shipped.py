from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gitops_serving import shipped
from gitops_serving.core.errors import Invalid

ROOT = Path(__file__).parent.parent


def test_packs_have_the_paths_that_they_would_have_in_a_fleet_repository() -> None:
    packs = shipped.packs()
    assert set(packs) == {str(path.relative_to(ROOT)) for path in (ROOT / "policies/metrics").iterdir()}
    assert packs["policies/metrics/knative.yaml"] == (ROOT / "policies/metrics/knative.yaml").read_bytes()


def test_a_policy_is_given_by_its_name() -> None:
    assert shipped.policy("standard") == (ROOT / "policies/standard.yaml").read_bytes()
    with pytest.raises(Invalid, match=r"no policy brisk is shipped; there are: .*standard"):
        shipped.policy("brisk")


@pytest.mark.slow
def test_what_is_shipped_reaches_the_wheel_where_it_is_looked_for(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = "from gitops_serving import shipped as s; print(s.__file__, *s.packs(), *s.policies(), sep='\\n')"
    found = subprocess.run(
        [sys.executable, "-S", "-c", program], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    place, *names = found.stdout.splitlines()
    assert Path(place).is_relative_to(tmp_path)
    assert names == [*shipped.packs(), *shipped.policies()]
