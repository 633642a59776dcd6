"""The port ``Repository`` on a real Git repository; the only door to pygit2.

    remote      where it is, and what to show for it
    cache       the bare object database on this machine, which may vanish at any time
    objects     reading trees and files, without a work tree
    commits     writing trees and commits
    transport   fetch and compare-and-swap push over http, https, ssh and git://
    command     the push to a path of this machine, through the git command
    repository  the four verbs of the port, made of the above

A package rather than a module, because transport and objects are two ideas and
one file holds one.  Nothing here knows what the files mean.
"""

from __future__ import annotations

from .objects import changed_paths
from .remote import Credentials
from .repository import GitRepository

__all__ = ["Credentials", "GitRepository", "changed_paths"]
