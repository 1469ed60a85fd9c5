"""Prefect flows over the tasks, the command line and the demo: what runs in which order, and with which parameters.

Prefect tells its makers of its use from the moment it is imported, and so does a server that it starts for one run. Unless the
environment says otherwise, not from here.
"""

import os

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
