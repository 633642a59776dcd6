"""The error tree, sorted by what happens next.

    GitopsServingError
    ├── Invalid        the user's file is wrong      -> this service waits; others go on
    ├── Conflict       the branch moved under us     -> forget everything, tick again at once
    ├── Unavailable    a dependency did not answer   -> back off, keep the last snapshot
    └── Refused        a dependency said no          -> a person must act
        ├── Denied     to us, and not to what we asked: rights, credentials, a missing namespace
        └── Misnamed   to a name: nothing is there, or can be, of the name that we were given

Adapters translate what their libraries raise into these four, and nothing else
leaves their door.  The core raises only ``Invalid``.  A message says what
happened, to what, and what to do; it never contains a credential.
"""

from __future__ import annotations


class GitopsServingError(Exception):
    """Anything that this product raises on purpose."""


class Invalid(GitopsServingError):
    """A file, or a request of a person, that is wrong as it stands.

    ``code`` is stable and made for machines; ``path`` and ``line`` (1-based) say where, and are empty where the
    text has no file.  ``others`` are the further complaints about the same file: all are reported at once.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        path: str = "",
        line: int | None = None,
        remedy: str = "",
        others: tuple[Invalid, ...] = (),
    ) -> None:
        super().__init__(message, code, path, line, remedy, others)
        self.message = message
        self.code = code
        self.path = path
        self.line = line
        self.remedy = remedy
        self.others = others

    def __str__(self) -> str:
        """Write every complaint as ``path:line: what; remedy``, one a line."""
        line = "" if self.line is None else str(self.line)
        where = f"{self.path}:{line}" if self.path and line else self.path or (line and f"line {line}")
        first = f"{where}: " if where else ""
        first += self.message + (f"; {self.remedy}" if self.remedy else "")
        return "\n".join((first, *(str(other) for other in self.others)))

    def within(self, path: str) -> Invalid:
        """Say which file the complaint is about, where the place that raised it could not know."""
        return Invalid(
            self.message,
            code=self.code,
            path=self.path or path,
            line=self.line,
            remedy=self.remedy,
            others=tuple(other.within(path) for other in self.others),
        )

    def below(self, lines: int) -> Invalid:
        """Say at which line of the whole file it is, where the place that raised it saw only what comes after some."""
        return Invalid(
            self.message,
            code=self.code,
            path=self.path,
            line=self.line and self.line + lines,
            remedy=self.remedy,
            others=tuple(other.below(lines) for other in self.others),
        )


class Conflict(GitopsServingError):
    """The branch is no longer where the decision was made: nothing was written."""


class Unavailable(GitopsServingError):
    """A dependency did not answer, or not in time; what it would have said is unknown."""


class Refused(GitopsServingError):
    """A dependency answered no, and will do so again until a person changes something."""


class Denied(Refused):
    """The no was to us, whatever we had asked: no revision is to blame for it."""


class Misnamed(Refused):
    """A repository or a branch of this name is not there, or cannot be: whoever named it must correct it."""


def joined(complaints: list[Invalid]) -> Invalid:
    """Fold all complaints about one file into the first of them."""
    first, *rest = complaints
    return Invalid(
        first.message,
        code=first.code,
        path=first.path,
        line=first.line,
        remedy=first.remedy,
        others=(*first.others, *rest),
    )
