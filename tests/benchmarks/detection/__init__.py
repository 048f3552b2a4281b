"""The detection benchmark: labelled memory series, a scorer, and the rules people use today.

``python -m benchmarks.detection`` (with ``tests`` on the path) prints one table: this package's detector and
the baselines over a corpus that is generated from a seed. The same seed gives the same series and verdicts on
every machine; only the speed differs.
"""
