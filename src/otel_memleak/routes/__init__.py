"""Which endpoint leaks: calls counted per entry point, and the growth of memory regressed on the counts.

``attribution`` is pure arithmetic; ``counter`` counts the spans that flow anyway, ``middleware`` counts where
there are none. The parts meet in two plain values: a number of bytes and a mapping from route to calls.
"""
