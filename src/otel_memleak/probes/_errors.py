"""The one way a probe fails."""

from __future__ import annotations


class ProbeError(Exception):
    """A reading could not be had; the message says which and why, in words.

    No probe lets any other exception out. Probes whose absence is normal (no limit set, tracing off)
    return None instead of raising.
    """


def in_words(error: Exception) -> str:
    """Return what went wrong without the file name that ``OSError`` repeats in its text."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
