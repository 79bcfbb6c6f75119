"""Before a file of the project is written: check the answers, and make contract and table from
own data.
"""

import json
import sys

answers = json.loads(r"""{{ cookiecutter | tojson }}""")
answers["path"] = json.loads(r"""{{ cookiecutter.data | absolute | tojson }}""")
sys.path.insert(0, json.loads(r"""{{ cookiecutter._repo_dir | absolute | tojson }}"""))

import project  # noqa: E402

project.run(project.prepare, answers)
