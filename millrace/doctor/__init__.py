"""``millrace doctor``: what is there, what is wrong, and what to do about it."""

from millrace.doctor.examination import examine
from millrace.doctor.finding import Finding, Level

__all__ = ["Finding", "Level", "examine"]
