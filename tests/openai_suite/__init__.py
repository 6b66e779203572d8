"""The official client's own tests, run against a front that knows the names they use."""
