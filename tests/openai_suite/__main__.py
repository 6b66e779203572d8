"""Run them: ``python -m tests.openai_suite FOLDER``, the unpacked sdist of the official client.

What fails must be named in ``expected.py``, and what is named there must fail. The client's tests
need pytest-asyncio and aiohttp beside what is installed here.
"""

import logging
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from contract.logs import configure_logs
from tests.openai_suite.expected import REASONS, reason
from tests.openai_suite.seeded import serving

MODULES = (
    "test_models.py", "test_completions.py", "chat/test_completions.py", "test_embeddings.py",
    "test_files.py", "test_batches.py", "test_responses.py", "responses/test_input_items.py",
)  # fmt: skip
_RESULT = re.compile(r"^(PASSED|FAILED|ERROR) (\S+)(?: - (.*))?$", re.M)


def main(sdist: Path) -> int:
    """Run the tests and say what came of them; 0 when all is as expected."""
    configure_logs("warning", "console")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    folder = sdist / "tests" / "api_resources"
    with tempfile.TemporaryDirectory() as scratch, serving(Path(scratch)) as url:
        ran = subprocess.run(
            [
                sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", "addopts=", "-q",
                "-rA", "--no-header", "--tb=line", *(str(folder / each) for each in MODULES),
            ],
            cwd=sdist,
            env={**os.environ, "TEST_API_BASE_URL": url},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
    found = _RESULT.findall(ran.stdout)
    outcomes = {name: result for result, name, _ in found}
    causes = {name: cause for _, name, cause in found}
    if not outcomes:
        sys.stdout.write(ran.stdout[-4000:] + ran.stderr[-4000:])
        return 1
    failed = {name for name, result in outcomes.items() if result != "PASSED"}
    reasons = Counter(why for name in failed if (why := reason(name)))
    for why, count in sorted(reasons.items()):
        print(f"{count:4} fail as expected: {why}")
    wrong = sorted(name for name in failed if reason(name) is None)
    odd = sorted(name for name in outcomes.keys() - failed if reason(name))
    for name in wrong:
        print(f"FAILED {name}: {causes[name]}")
    for name in odd:
        print(f"PASSED, though not expected to: {name}")
    unused = [why for why, _ in REASONS if not reasons[why]]
    passed = len(outcomes) - len(failed)
    print(f"{passed} passed, {len(failed)} failed, {len(wrong)} of them unexpected")
    return int(bool(wrong or odd or unused))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
