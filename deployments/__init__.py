"""What is needed to run the flows somewhere: work pools, blocks and containers."""
