"""The demonstration's fleet repository: a bare remote, and a person's clone of it.

Everything is done by the ``git`` command, as a person would: branches, pushes, merge commits.  The person's own
configuration plays no part in it, so that neither their name nor their hooks appear.  What the files mean is known to
the controller alone; nothing is imported from it here.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

ENVIRONMENT, NAMESPACE, BRANCH = "demo", "fraud", "main"
PERSON = ("Ada Example", "ada@example.com")
TRIES = 10  # of a merge that the controller's own commits overtake
GIT_SECONDS = 60

CLUSTER = f"""\
# Where the demonstration's services run, and which policy they follow.
apiVersion: gitops-serving.dev/v1alpha1
kind: Environment
metadata: {{name: {ENVIRONMENT}}}
spec:
  cluster: {{kind: local, namespaces: [{NAMESPACE}]}}
  interval: 1s
  policies:
    - {{policy: demo}}
"""

POLICY = """\
# Three steps of ten seconds, under steady load: long enough for some 300 requests each, and no longer.
# Evidence this short is noisy, hence the wide margins; do not use it where it matters.
apiVersion: gitops-serving.dev/v1alpha1
kind: RolloutPolicy
metadata: {name: demo}
spec:
  steps:
    - {setWeight: 10, dwell: 10s}
    - {setWeight: 25, dwell: 10s}
    - {setWeight: 50, dwell: 10s}
  readyWithin: 90s
  patience: 60s
  analysis:
    minRequests: 20
    timing: {block: 2s, warmUp: 3s, warmUpAfterShift: 2s}
    metrics:
      - {name: errors, pack: knative/errors, compare: {tolerance: 20%, atLeast: 2%}, limit: {max: 10%}}
      - {name: latency, pack: knative/latency, compare: {tolerance: 50%, atLeast: 200ms}}
"""

MANIFEST = """\
# Owned by the fraud team; the weight and the label are the controller's.
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {name}
  namespace: {namespace}
spec:
  predictor:
    model:
      modelFormat: {{name: sklearn}}
      storageUri: {uri}
"""


class GitError(Exception):
    """The git command failed; the message says at what, and what it said."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The bare remote and the person's clone."""

    remote: Path
    clone: Path


def create(directory: Path, models: dict[str, Path]) -> Fleet:
    """Make the remote with one first commit; ``models`` has each service's first model by the service's name."""
    fleet = Fleet(directory / "fleet.git", directory / "clone")
    git(directory, "init", "--quiet", "--bare", f"--initial-branch={BRANCH}", str(fleet.remote))
    git(directory, "clone", "--quiet", str(fleet.remote), str(fleet.clone))
    git(fleet.clone, "checkout", "--quiet", "-B", BRANCH)
    _write(fleet.clone / f"clusters/{ENVIRONMENT}/cluster.yaml", CLUSTER)
    _write(fleet.clone / "policies/demo.yaml", POLICY)
    for name, model in models.items():
        _write(_manifest(fleet, name), manifest(name, model))
    git(fleet.clone, "add", "--all")
    git(fleet.clone, "commit", "--quiet", "-m", "Serve the first models")
    git(fleet.clone, "push", "--quiet", "origin", BRANCH)
    return fleet


def propose(fleet: Fleet, name: str, model: Path, title: str) -> str:
    """Push a branch with another model for a service, as for a pull request; its name comes back."""
    branch = model.name
    git(fleet.clone, "checkout", "--quiet", "-b", branch, f"origin/{BRANCH}")
    text = _manifest(fleet, name).read_text(encoding="utf-8")
    lines = [
        f"{line.partition(':')[0]}: {model.as_uri()}" if "storageUri" in line else line for line in text.split("\n")
    ]
    _write(_manifest(fleet, name), "\n".join(lines))
    git(fleet.clone, "commit", "--quiet", "--all", "-m", title)
    git(fleet.clone, "push", "--quiet", "origin", branch)
    return branch


def merge(fleet: Fleet, branch: str, number: int, title: str) -> str:
    """Merge a pull request with a merge commit on whatever the branch holds by now; the commit's id comes back."""
    message = f"Merge pull request #{number} from {branch}\n\n{title}"
    refused = ""
    for _ in range(TRIES):
        git(fleet.clone, "fetch", "--quiet", "origin")
        git(fleet.clone, "checkout", "--quiet", "-B", BRANCH, f"origin/{BRANCH}")
        git(fleet.clone, "merge", "--quiet", "--no-ff", "-m", message, branch)
        try:
            git(fleet.clone, "push", "--quiet", "origin", BRANCH)
        except GitError as error:  # the controller was faster: merge into what it wrote
            refused = str(error)
            continue
        return git(fleet.clone, "rev-parse", "HEAD").strip()
    raise GitError(f"the pull request {branch} was overtaken {TRIES} times; last: {refused}")


def manifest(name: str, model: Path) -> str:
    """Write the manifest of a service as a person would."""
    return MANIFEST.format(name=name, namespace=NAMESPACE, uri=model.as_uri())


def git(where: Path, *arguments: str) -> str:
    """Run git as the demonstration's person; raises GitError with what it said."""
    name, address = PERSON
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": name,
        "GIT_AUTHOR_EMAIL": address,
        "GIT_COMMITTER_NAME": name,
        "GIT_COMMITTER_EMAIL": address,
        "LC_ALL": "C",
    }
    try:
        done = subprocess.run(
            ["git", "-C", str(where), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=GIT_SECONDS,
            check=False,
            start_new_session=True,  # Ctrl-C is answered by the demonstration alone
        )
    except subprocess.TimeoutExpired:
        raise GitError(f"git {arguments[0]} did not end within {GIT_SECONDS} s in {where}; try again") from None
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"it ended with {done.returncode}"
        raise GitError(f"git {arguments[0]} failed in {where}: {said}")
    return done.stdout


def _manifest(fleet: Fleet, name: str) -> Path:
    return fleet.clone / f"clusters/{ENVIRONMENT}/{NAMESPACE}/{name}.yaml"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
