"""``millrace up``: every part of Millrace on this machine, supervised."""
