"""A stub server and the adapters on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gitops_serving.adapters import kube
from tests.contract.stub import Stub, serve
from tests.contract.test_cluster import write_kubeconfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serve() as made:
        yield made


@pytest.fixture
def cluster(stub: Stub, tmp_path: Path) -> Iterator[kube.KubeCluster]:
    made = kube.connect(write_kubeconfig(tmp_path / "kubeconfig", stub.url + "/s3cret"))
    yield made
    made.close()
