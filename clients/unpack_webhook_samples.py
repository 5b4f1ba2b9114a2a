"""Unpacks the samples of forges' webhooks that Weblate's tests hold: <wheel> <folder>.

Each lands in <folder>/<NAME>.json, as the constant is called. Nothing of Weblate is run: its source is only parsed.
"""

import ast
import json
import pathlib
import sys
import zipfile

WHERE = "weblate/trans/tests/test_hooks.py"
FORGES = ("GITLAB_PAYLOAD", "BITBUCKET_PAYLOAD", "AZURE_PAYLOAD", "GITEA_PAYLOAD")


def main(wheel, folder):
    with zipfile.ZipFile(wheel) as archive:
        module = ast.parse(archive.read(WHERE))
    missing = set(FORGES)
    for statement in module.body:
        if not isinstance(statement, ast.Assign) or not isinstance(statement.value, ast.Constant):
            continue
        name = statement.targets[0].id
        forge = next((forge for forge in FORGES if name.startswith(forge)), None)
        if forge:
            missing.discard(forge)
            sample = json.loads(statement.value.value)
            pathlib.Path(folder, f"{name}.json").write_text(json.dumps(sample), encoding="utf-8")
    if missing:
        sys.exit(f"{wheel} has no {', '.join(sorted(missing))} in {WHERE}")


if __name__ == "__main__":
    main(*sys.argv[1:])
