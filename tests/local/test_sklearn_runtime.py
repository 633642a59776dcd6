"""KServe's real server with a real model on a unix socket."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import joblib
import pytest
from sklearn.linear_model import LogisticRegression

from gitops_serving.local.runtimes.prepare import prepare
from tests.local.serving import eventually, in_loop, names_in, running, short_directory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.slow


@pytest.fixture
def state() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


@pytest.fixture
def model(state: Path) -> Path:
    """Give the directory of a model that says 1 for points above the line x = 1.5."""
    directory = state / "model"
    directory.mkdir()
    estimator = LogisticRegression().fit([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0]], [0, 0, 1, 1])
    joblib.dump(estimator, directory / "model.joblib")
    return directory


def command(model: Path, socket_path: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "gitops_serving.local.runtimes.sklearn"),
        *("--model_name", "scorer", "--model_dir", str(model), "--uds", str(socket_path)),
    ]


@asynccontextmanager
async def server(
    model: Path, **environment: str
) -> AsyncIterator[tuple[aiohttp.ClientSession, asyncio.subprocess.Process, Path]]:
    """Serve a model, and give a client, the process and its log."""
    socket_path, log = model.parent / "s.sock", model.parent / "log"
    with log.open("wb") as written:
        child = await asyncio.create_subprocess_exec(
            *command(model, socket_path), stdout=written, stderr=written, env={**os.environ, **environment}
        )
    connector = aiohttp.UnixConnector(str(socket_path))
    async with aiohttp.ClientSession("http://replica", connector=connector) as client:

        async def ready() -> bool:
            assert child.returncode is None, log.read_text(encoding="utf-8")
            try:
                async with client.get("/v2/health/ready") as health, client.get("/v2/models/scorer/ready") as one:
                    return health.status == one.status == 200
            except aiohttp.ClientConnectionError:
                return False

        try:
            await eventually(ready, seconds=90)
            yield client, child, log
        finally:
            if child.returncode is None:
                child.kill()
            await child.wait()


async def post(client: aiohttp.ClientSession, path: str, document: Any) -> tuple[int, Any]:
    async with client.post(path, json=document) as response:
        return response.status, await response.json()


def tensor(*rows: list[float]) -> dict[str, Any]:
    data = [number for row in rows for number in row]
    return {"inputs": [{"name": "x", "shape": [len(rows), len(rows[0])], "datatype": "FP64", "data": data}]}


@in_loop
async def test_a_model_answers_v1_and_v2_and_a_wrong_input_is_a_500(model: Path) -> None:
    async with server(model) as (client, child, log):
        v1 = "/v1/models/scorer:predict"
        assert await post(client, v1, {"instances": [[0.0, 0.0], [3.0, 0.0]]}) == (200, {"predictions": [0, 1]})
        status, answer = await post(client, "/v2/models/scorer/infer", tensor([3.0, 0.0], [0.0, 0.0], [2.0, 5.0]))
        assert status == 200
        assert answer["outputs"][0]["data"] == [1, 0, 1]
        assert answer["outputs"][0]["shape"] == [3]
        assert log.read_text(encoding="utf-8") == ""
        status, answer = await post(client, v1, {"instances": [[1.0]]})
        assert status == 500
        assert "2 features" in answer["error"]
        assert (await post(client, "/v1/models/other:predict", {"instances": [[1.0, 1.0]]}))[0] == 404
        assert (await post(client, v1, {"instances": [[0.0, 0.0]]}))[0] == 200
        assert listening(child.pid) == []
        child.terminate()
        assert await asyncio.wait_for(child.wait(), 10) == 0
    assert not (model.parent / "s.sock").exists()


def listening(pid: int) -> list[str]:
    """List the TCP sockets on which a process listens."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        target = str(descriptor.readlink())
        inodes.add(target.removeprefix("socket:[").removesuffix("]"))
    found = []
    for table in ("tcp", "tcp6"):
        lines = Path(f"/proc/{pid}/net/{table}").read_text(encoding="utf-8").splitlines()
        found += [line for line in lines if line.split()[3] == "0A" and line.split()[9] in inodes]
    return found


@in_loop
async def test_probabilities_are_given_on_request(model: Path) -> None:
    async with server(model, PREDICT_PROBA="true") as (client, _, _):
        status, answer = await post(client, "/v1/models/scorer:predict", {"instances": [[3.0, 0.0]]})
    assert status == 200
    (row,) = answer["predictions"]
    assert row[1] > 0.7
    assert sum(row) == pytest.approx(1)


USERS_CODE = '''
from sklearn.base import BaseEstimator, ClassifierMixin

class Broken(ClassifierMixin, BaseEstimator):
    """A model that fails for large numbers."""

    def fit(self, X, y):
        self.fitted_ = True
        return self

    def predict(self, X):
        if X.max() > 10:
            raise RuntimeError("out of range of the training data")
        return [7] * len(X)
'''


@in_loop
async def test_a_pickle_may_contain_a_class_of_the_users_own(state: Path) -> None:
    code, directory = state / "code", state / "model"
    await asyncio.to_thread(code.mkdir)
    await asyncio.to_thread(directory.mkdir)
    await asyncio.to_thread((code / "users_models.py").write_text, USERS_CODE, encoding="utf-8")
    script = (
        "import joblib, users_models; "
        f"joblib.dump(users_models.Broken().fit([[0]], [0]), {str(directory / 'model.pkl')!r})"
    )
    made = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, env={**os.environ, "PYTHONPATH": str(code)}
    )
    assert await made.wait() == 0
    async with server(directory, PYTHONPATH=str(code)) as (client, _, _):
        v1 = "/v1/models/scorer:predict"
        assert await post(client, v1, {"instances": [[1.0], [2.0]]}) == (200, {"predictions": [7, 7]})
        status, answer = await post(client, v1, {"instances": [[99.0]]})
        assert status == 500
        assert "out of range" in answer["error"]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ([], "found: none"),
        (["a.joblib", "b.pkl"], "found: a.joblib, b.pkl"),
        (["readme.txt"], "found: none"),
        (["damaged.pkl"], "cannot be loaded"),
    ],
)
@in_loop
async def test_a_directory_that_is_no_model_ends_the_process_with_its_reason(
    state: Path, files: list[str], reason: str
) -> None:
    directory = state / "model"
    await asyncio.to_thread(directory.mkdir)
    for name in files:
        await asyncio.to_thread((directory / name).write_text, "no model", encoding="utf-8")
    child = await asyncio.create_subprocess_exec(*command(directory, state / "s.sock"), stderr=asyncio.subprocess.PIPE)
    _, said = await child.communicate()
    assert child.returncode == 1
    assert reason in said.decode().splitlines()[-1]
    assert "s.sock" not in names_in(state)


@in_loop
async def test_a_server_dies_with_a_parent_that_was_killed(model: Path) -> None:
    script = "import subprocess, sys, time; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); time.sleep(90)"
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, *command(model, model.parent / "s.sock")), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    await eventually(lambda: "s.sock" in names_in(model.parent), seconds=90)
    parent.kill()
    await parent.wait()
    await eventually(lambda: not running(pid))


def test_an_option_that_is_unknown_is_refused_before_anything_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--model_name", "a", "--model_dir", "/m", "--uds", "/s", "--work", "2"])
    with pytest.raises(SystemExit):
        prepare()
