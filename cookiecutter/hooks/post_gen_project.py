"""Copy the live project into the new folder, under its own names, and commit it."""

import json
import sys

# Cookiecutter fills in JSON, which has double quotes: the texts must have other ones.
# fmt: off
answers = json.loads(r'''{{ cookiecutter | tojson }}''')
sys.path.insert(0, json.loads(r'''{{ cookiecutter._repo_dir | absolute | tojson }}'''))
# fmt: on

import project  # noqa: E402

project.run(project.build, answers)
