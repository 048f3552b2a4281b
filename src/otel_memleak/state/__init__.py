"""What one process leaves to the next: a small JSON file, written seldom, trusted in nothing.

``document``   what is in the file, and the check of every part of it when it comes back
``slot``       which file is whose: one process one file, held by a lock that dies with the process
``keeper``     when it is written, on a thread of its own

Decisions:

* JSON, and no pickle: a file in a shared folder is input from strangers.
* What is refused is left alone. A file that is not ours, of a newer version, torn or too large may be worth
  something to somebody; nothing is kept until it is moved away, and one warning says so.
* A lock beside the file, not on it: the file is replaced at every write. The lock's file is never removed,
  because removing a file that somebody is about to lock gives two owners.
* ``flock`` and not ``fcntl`` locks: two watches in one process exclude each other, too, and closing some
  other descriptor of the file does not give the lock away. A forked child closes its copy.
* A number behind the name for every further process at the same time (``state.json.1``): a worker that takes
  the place of another finds what that one has left. Files of another program, of another service, or of the
  master while we are a worker, are passed over.
"""

from __future__ import annotations

from otel_memleak.state.keeper import StateKeeper

__all__ = ["StateKeeper"]
