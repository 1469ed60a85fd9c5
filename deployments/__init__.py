"""What is needed to run the flows somewhere: work pools, blocks and containers."""

import flows  # noqa: F401 - before Prefect, which it keeps from telling its makers of its use
