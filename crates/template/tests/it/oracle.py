"""Says of each deployment file whether cfn-lint takes it for Git sync: one line `pass` or `fail` per path on stdin.

Made for cfn-lint 1.58: the file is decoded as cfn-lint decodes it and held against the schema it ships.
"""

import logging
import sys

from cfnlint.decode import decode
from cfnlint.runner.deployment_file.deployment_types import create_deployment_from_git_sync


def verdict(path):
    data, _ = decode(path)
    if data is None:
        return "fail"
    _, matches = create_deployment_from_git_sync(data)
    return "fail" if matches else "pass"


logging.disable(logging.CRITICAL)
for line in sys.stdin:
    print(verdict(line.rstrip("\n")), flush=True)
