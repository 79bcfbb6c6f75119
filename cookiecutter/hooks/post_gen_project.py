"""Copy the live project into the new folder, under its own names, and commit it."""

import json
import sys

answers = json.loads(r"""{{ cookiecutter | tojson }}""")
sys.path.insert(0, json.loads(r"""{{ cookiecutter._repo_dir | absolute | tojson }}"""))

import project  # noqa: E402

project.run(project.build, answers)
