"""The attribution benchmark: simulated services, one of whose routes leaks, or a thread, or nothing.

``python -m benchmarks.routes`` (with ``tests`` on the path) prints how often the guilty route is named, how
well its bytes per call are known, and how often an innocent one is accused. The same seed gives the same
runs. ``python -m benchmarks.routes.requests`` measures what counting costs an ASGI application.
"""
