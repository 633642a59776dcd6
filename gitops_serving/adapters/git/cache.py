"""The bare repository on this machine: a cache, and nothing but a cache.

It may be deleted, damaged or left half-written by ``kill -9`` at any moment;
then it is made anew.  One process at a time uses one cache folder.  A second
one does not wait: it takes the next of a few numbered folders, which stay warm
for its next run, and when all are taken, a folder of its own that it removes.

A clone that is made anew gets a new name: libgit2 keeps packs open by their
path for the whole process, and would go on reading the damaged one.

``flock`` ends with its process, so no stale lock of ours exists.  Lock files of
Git do outlive a killed process; they are removed while the folder is ours alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import pygit2
from pygit2.enums import RepositoryOpenFlag

from gitops_serving.core.errors import Refused

FOLDERS = 4  # a controller, a verb or two at the prompt, and one to spare
CROWDED = 200  # loose objects in one of 256 folders, 50,000 in all: starting over costs less than finding them
TRACKED = "refs/gitops-serving/head"  # where the branch is, as of the last fetch
KNOWN = "refs/gitops-serving/known"  # what we have, so that a fetch asks only for the rest


class Cache:
    """One folder of the cache, held until ``close``."""

    def __init__(self, root: Path, url: str, branch: str) -> None:
        self.suspect = False  # set by whoever could not read an object that has to be there
        self._root = root
        self._url = url
        self._name = hashlib.sha256(f"{url}\0{branch}".encode()).hexdigest()[:32]
        self._lock: int | None = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._folder: Path | None = None
        self._repository: pygit2.Repository | None = None

    def repository(self) -> pygit2.Repository:
        """Open the cache, or the one that is already open; make it anew where it is gone or damaged."""
        try:
            if self._repository is not None and not (Path(self._repository.path) / "HEAD").is_file():
                self.close()
            if self._folder is None:
                self._folder = self._claim()
            if self._repository is None or self.suspect:
                self._repository = opened(self._folder, self._url, anew=self.suspect)
                self.suspect = False
        except (OSError, pygit2.GitError) as error:
            raise Refused(
                f"cannot keep a clone under {self._root}: {error}; make room, correct its rights or name another folder"
            ) from error
        return self._repository

    def close(self) -> None:
        """Give the folder free for others."""
        self._repository = None
        self._folder = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def _claim(self) -> Path:
        """Take the first folder that nobody holds."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in range(FOLDERS):
            folder = self._root / (self._name if number == 0 else f"{self._name}-{number}")
            lock = os.open(folder.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            self._lock = lock
            folder.mkdir(mode=0o700, exist_ok=True)
            return folder
        self._temporary = tempfile.TemporaryDirectory(prefix="gitops-serving-", ignore_cleanup_errors=True)
        return Path(self._temporary.name)


def opened(folder: Path, url: str, *, anew: bool) -> pygit2.Repository:
    """Open the clone in a folder that is ours alone, after tidying it; start over if it is not sound."""
    for path in () if anew else sorted(folder.glob("*.git")):
        if len(list(path.glob("objects/00/*"))) > CROWDED:
            break
        tidy(path)
        try:
            repository = pygit2.Repository(str(path), RepositoryOpenFlag.NO_SEARCH | RepositoryOpenFlag.BARE)
            if sound(repository) and repository.remotes["origin"].url == url:
                return repository
        except (pygit2.GitError, OSError, ValueError, KeyError):
            break  # whatever is wrong with it, a new one is right
    for path in folder.iterdir():
        shutil.rmtree(path, ignore_errors=True)
    unfinished = Path(tempfile.mkdtemp(suffix=".new", dir=folder))
    made(unfinished, url)
    finished = unfinished.rename(unfinished.with_suffix(".git"))
    return pygit2.Repository(str(finished), RepositoryOpenFlag.NO_SEARCH | RepositoryOpenFlag.BARE)


def made(path: Path, url: str) -> None:
    """Make an empty cache."""
    repository = pygit2.init_repository(str(path), bare=True)
    repository.remotes.create("origin", url, f"+refs/heads/none:{TRACKED}")
    repository.config["remote.origin.tagOpt"] = "--no-tags"
    repository.config["http.followRedirects"] = "false"  # within one host only: elsewhere our credentials do not go


def tidy(path: Path) -> None:
    """Remove what a killed process left half-done."""
    left = [*path.glob("*.lock"), *path.glob("refs/**/*.lock"), *path.glob("objects/pack/*_git2_*")]
    for file in left:
        file.unlink(missing_ok=True)


def sound(repository: pygit2.Repository) -> bool:
    """Tell whether what the last fetch brought can still be read, as far as a quick look tells."""
    try:
        repository.lookup_reference("HEAD")  # libgit2 can do without, the git command cannot
        for name in (TRACKED, KNOWN):
            reference = repository.references.get(name)
            if reference is not None:
                repository[reference.target].peel(pygit2.Tree)
    except (pygit2.GitError, OSError, ValueError, KeyError):
        return False
    return True
