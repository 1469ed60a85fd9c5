"""Prefect flows over the tasks, the command line and the demo: what runs in which order, and with which parameters.

Prefect tells its makers of its use from the moment it is imported. Unless the environment says otherwise, not from here.
"""

import os

os.environ.setdefault("DO_NOT_TRACK", "1")
