"""Before any file is written: check the answers, and make table and contract from own data."""

import json
import sys

# Cookiecutter fills in JSON, which has double quotes: the texts must have other ones.
# fmt: off
answers = json.loads(r'''{{ cookiecutter | tojson }}''')
answers["path"] = json.loads(r'''{{ cookiecutter.data | absolute | tojson }}''')
sys.path.insert(0, json.loads(r'''{{ cookiecutter._repo_dir | absolute | tojson }}'''))
# fmt: on

import project  # noqa: E402

project.run(project.prepare, answers)
