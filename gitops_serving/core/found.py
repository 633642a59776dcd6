"""The InferenceServices that a tree holds below a folder, and the files that nobody can read.

A file is parsed and looked through once per content, and what is wrong with one of its
documents is kept beside that document: a file with one bad service still holds the
others.  It knows nothing of records; whom a broken file is missed by is `rollout`'s
business.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from . import manifest, yamltext
from .errors import Invalid
from .model import UNREADABLE, Owned

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from .yamltext import Document

    class Files(Protocol):
        """The part of a tree that is read here."""

        def paths(self, under: str = "") -> Sequence[str]:
            """List the files below a folder."""
            ...

        def read(self, path: str) -> bytes | None:
            """Read a file; None: there is none, or it is too large."""
            ...


LABEL = "0123456789ab.1"  # of no revision: only to see whether one can be written
parse = lru_cache(maxsize=8192)(yamltext.read)  # equal bytes are parsed once; documents are never changed


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One InferenceService in one document of a file."""

    number: int
    service: str
    document: Document
    revision: str  # UNREADABLE: nobody can tell, since it is invalid
    owned: Owned = Owned()
    invalid: Invalid | None = None


@lru_cache(maxsize=8192)
def scan(source: bytes) -> tuple[Found, ...]:
    """Find the InferenceServices of a file; equal bytes are scanned once."""
    found = []
    for number, document in enumerate(parse(source)):
        if not manifest.is_inference_service(document.value):
            continue
        service = manifest.service_of(document.value)
        try:
            manifest.check(document)
        except Invalid as error:
            found.append(Found(number=number, service=service, document=document, revision=UNREADABLE, invalid=error))
            continue
        found.append(
            Found(
                number=number,
                service=service,
                document=document,
                revision=manifest.revision_of(document.value),
                owned=manifest.owned_of(document.value),
                invalid=_unwritable(source, document),
            )
        )
    return tuple(found)


def _unwritable(source: bytes, document: Document) -> Invalid | None:
    """Say why our fields could not be written into a manifest, at its line of the file; None: they can."""
    error = _refused(source[document.start : document.end])
    return error and error.below(source.count(b"\n", 0, document.start))


@lru_cache(maxsize=8192)
def _refused(text: bytes) -> Invalid | None:
    """Write a weight and a label into a manifest, before anybody relies on it.

    One that does not take them could be put on trial, and its abort could never be written.  A weight that a person
    wrote must come out again too; of one that we wrote, nobody doubts it.
    """
    try:
        written = yamltext.patch(text, manifest.edits(parse(text)[0].value, Owned(0, LABEL)))
        if b"canaryTrafficPercent" in text:
            yamltext.patch(written, manifest.edits(yamltext.read(written)[0].value, Owned(None, LABEL)))
    except Invalid as error:
        return error.with_traceback(None)
    return None


@dataclass(frozen=True, slots=True)
class Broken:
    """A file that nobody can read."""

    error: Invalid
    source: bytes = b""  # empty: it is too large


def manifests(tree: Files, folder: str) -> tuple[dict[str, list[tuple[str, Found]]], dict[str, Broken]]:
    """Find the InferenceServices below a folder, by their names, and the files that nobody can read, by their paths."""
    services: dict[str, list[tuple[str, Found]]] = {}
    broken: dict[str, Broken] = {}
    for path in tree.paths(folder):
        if not path.endswith((".yaml", ".yml")) or path == f"{folder}cluster.yaml":
            continue
        source = tree.read(path)
        if source is None:
            error = Invalid("the file is too large", code="limits", path=path, remedy="keep it below 1 MiB")
            broken[path] = Broken(error)
            continue
        try:
            for found in scan(source):
                services.setdefault(found.service, []).append((path, found))
        except Invalid as error:
            broken[path] = Broken(error.within(path), source)
    return services, broken
