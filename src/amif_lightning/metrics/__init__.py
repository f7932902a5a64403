"""torchmetrics classes: sums as state, exact over any number of processes."""
