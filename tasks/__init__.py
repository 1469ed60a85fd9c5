"""One Prefect task per verb of the core: cache key, retries, artifacts. No arithmetic and no storage of their own."""
