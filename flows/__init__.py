"""Prefect flows over the tasks, the command line and the demo: what runs in which order, and with which parameters."""
