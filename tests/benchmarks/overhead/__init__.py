"""What watching costs, as ratios measured side by side and as counts of instructions."""
